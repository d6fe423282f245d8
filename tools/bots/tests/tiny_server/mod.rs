//! One thread, one zone of one cell, a full block for everybody at every tick.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vyuha_net::client::ClientContent;
use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, append_frame, first_frame};
use vyuha_protocol::message::{
    self, AccountRegistered, CharacterCreated, CharacterSummary, Characters, ClientMessage, Done, Dropped,
    EnteredZone, InventorySlot, LoggedIn, LoggedOut, PickedUp, Pong, Said, Welcome,
};
use vyuha_protocol::motion::{Heading, displacement, step};
use vyuha_protocol::snapshot::{BLOCK_FULL, BlockHead, CellKey, Enter, Name, SNAPSHOT_KIND, SnapshotHead};
use vyuha_protocol::{EntityKind, ErrorCode, ItemKind, PROTOCOL_VERSION, Pos, TileMap, ZoneId};

/// Sign-ins at once that a load must not exceed.
pub const SIGN_INS_MAX: usize = 8;
const TICK: Duration = Duration::from_nanos(1_000_000_000 / 30);
const SPEED: u16 = 341;
const ZONE: ZoneId = ZoneId(1);

/// The faults that the server plants.
#[derive(Default, Clone, Copy)]
pub struct Plan {
    pub loses_items_at_logout: bool,
    pub loses_inputs: bool,
    pub dies_after: Option<Duration>,
}

pub struct TinyServer {
    pub address: SocketAddr,
    books: Arc<Mutex<Books>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Slots = BTreeMap<u8, (u16, u32)>;

#[derive(Default)]
struct Books {
    accounts: Vec<(String, Option<String>, Slots)>,
    signing_in_most: usize,
}

struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    out: Vec<u8>,
    account: Option<usize>,
    player: Option<Player>,
    over: bool,
}

struct Player {
    entity: u32,
    pos: Pos,
    inputs: Vec<(u32, Heading)>,
    /// The last input that was carried out.
    ack: u32,
}

struct Zone {
    plan: Plan,
    map: Arc<TileMap>,
    /// Kind, count and place by entity.
    ground: BTreeMap<u32, (u16, u32, Pos)>,
    entity_last: u32,
    tick: u32,
}

pub fn content() -> Arc<ClientContent> {
    let maps = [(ZONE, Arc::new(TileMap::open(30, 30)))].into();
    Arc::new(ClientContent { hash: [5; 32], maps })
}

impl TinyServer {
    pub fn start(plan: Plan) -> TinyServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (books, stop) = (Arc::new(Mutex::new(Books::default())), Arc::new(AtomicBool::new(false)));
        let (its_books, its_stop) = (books.clone(), stop.clone());
        let thread = std::thread::spawn(move || serve(&listener, plan, &its_books, &its_stop));
        TinyServer { address, books, stop, thread: Some(thread) }
    }

    pub fn inventory(&self, account: &str) -> Vec<(u8, u16, u32)> {
        let books = self.books.lock().unwrap();
        let slots = &books.accounts.iter().find(|known| known.0 == account).unwrap().2;
        slots.iter().map(|(&slot, &(kind, count))| (slot, kind, count)).collect()
    }

    pub fn signing_in_most(&self) -> usize {
        self.books.lock().unwrap().signing_in_most
    }
}

impl Drop for TinyServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

fn serve(listener: &TcpListener, plan: Plan, books: &Mutex<Books>, stop: &AtomicBool) {
    let mut zone =
        Zone { plan, map: content().maps[&ZONE].clone(), ground: BTreeMap::new(), entity_last: 0, tick: 0 };
    for n in 0..60 {
        let pos = Pos::tile_centre(2 + n * 7 % 26, 2 + n * 11 % 26);
        zone.put_down((1 + n % 3) as u16, 1 + n % 5, pos);
    }
    let (began, mut clients) = (Instant::now(), Vec::<Client>::new());
    while !stop.load(Ordering::Relaxed) && plan.dies_after.is_none_or(|after| began.elapsed() < after) {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            clients.push(Client {
                stream,
                received: vec![],
                out: vec![],
                account: None,
                player: None,
                over: false,
            });
        }
        let mut books = books.lock().unwrap();
        let signing_in = clients.iter().filter(|client| client.player.is_none()).count();
        books.signing_in_most = books.signing_in_most.max(signing_in);
        let mut said = Vec::new();
        for client in &mut clients {
            client.read();
            while let Some(frame) = first_frame(&client.received, CLIENT_PAYLOAD_BYTES_MAX).unwrap() {
                let (kind, payload, bytes) = (frame.kind, frame.payload.to_vec(), frame.bytes());
                client.received.drain(..bytes);
                zone.answer(client, ClientMessage::decode(kind, &payload).unwrap(), &mut books, &mut said);
            }
        }
        drop(books);
        if began.elapsed() >= TICK * zone.tick {
            zone.step(&mut clients);
        }
        for said in said {
            for client in clients.iter_mut().filter(|client| client.player.is_some()) {
                message::append(&mut client.out, &said);
            }
        }
        clients.retain_mut(|client| client.write() && !client.over);
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Client {
    fn read(&mut self) {
        let mut scratch = [0; 4096];
        loop {
            match self.stream.read(&mut scratch) {
                Ok(0) => {
                    self.over = true;
                    return;
                }
                Ok(bytes) => self.received.extend_from_slice(&scratch[..bytes]),
                Err(error) => {
                    self.over |= error.kind() != ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }

    fn write(&mut self) -> bool {
        // What a few bots leave unread fits into the socket's buffer.
        let written = self.stream.write_all(&self.out);
        self.out.clear();
        written.is_ok()
    }

    fn refuse(&mut self, request: u32, code: ErrorCode, closing: bool) {
        let text = code.text().to_owned();
        message::append(&mut self.out, &message::Error { request, code: code as u16, closing, text });
    }
}

impl Zone {
    fn put_down(&mut self, kind: u16, count: u32, pos: Pos) -> u32 {
        self.entity_last += 1;
        self.ground.insert(self.entity_last, (kind, count, pos));
        self.entity_last
    }

    fn answer(
        &mut self,
        client: &mut Client,
        message: ClientMessage,
        books: &mut Books,
        said: &mut Vec<Said>,
    ) {
        let accounts = &mut books.accounts;
        match message {
            ClientMessage::Hello(m) if m.content_hash == content().hash => {
                let build = "tiny".to_owned();
                message::append(&mut client.out, &Welcome { version: PROTOCOL_VERSION, build });
            }
            ClientMessage::Hello(_) => {
                client.refuse(0, ErrorCode::ContentMismatch, true);
                client.over = true;
            }
            ClientMessage::RegisterAccount(m) => {
                if accounts.iter().any(|account| account.0 == m.account.as_str()) {
                    return client.refuse(m.request.into(), ErrorCode::AccountNameTaken, false);
                }
                accounts.push((m.account.to_string(), None, Slots::new()));
                message::append(&mut client.out, &AccountRegistered { request: m.request.into() });
            }
            ClientMessage::Login(m) => {
                client.account = accounts.iter().position(|account| account.0 == m.account.as_str());
                message::append(&mut client.out, &LoggedIn { request: m.request.into(), account: 1 });
            }
            ClientMessage::ListCharacters(m) => {
                let name = accounts[client.account.unwrap()].1.clone();
                let characters = name
                    .into_iter()
                    .map(|name| CharacterSummary { character: 1, name, zone: ZONE.0 })
                    .collect();
                message::append(&mut client.out, &Characters { request: m.request.into(), characters });
            }
            ClientMessage::CreateCharacter(m) => {
                accounts[client.account.unwrap()].1 = Some(m.name.to_string());
                message::append(
                    &mut client.out,
                    &CharacterCreated { request: m.request.into(), character: 1 },
                );
            }
            ClientMessage::SelectCharacter(m) => {
                self.entity_last += 1;
                let pos = Pos::tile_centre(15, 15);
                client.player = Some(Player { entity: self.entity_last, pos, inputs: vec![], ack: 0 });
                let slots = &accounts[client.account.unwrap()].2;
                let inventory =
                    slots.iter().map(|(&slot, &(kind, count))| InventorySlot { slot, kind, count }).collect();
                let entered = EnteredZone {
                    request: m.request.into(),
                    zone: ZONE.0,
                    tick_hz: 30,
                    speed: SPEED,
                    entity: self.entity_last,
                    x: pos.x,
                    y: pos.y,
                    inventory,
                    worn: vec![],
                    nonce: 5,
                };
                message::append(&mut client.out, &entered);
            }
            ClientMessage::Input(m) => {
                let heading = Heading { x: m.heading_x, y: m.heading_y };
                client.player.as_mut().unwrap().inputs.push((m.sequence.into(), heading));
            }
            ClientMessage::Say(m) => {
                let (entity, name) = (client.player.as_ref().unwrap().entity, "somebody".to_owned());
                said.push(Said { entity, name, text: m.text.to_string() });
                message::append(&mut client.out, &Done { request: m.request.into() });
            }
            ClientMessage::PickUp(m) => {
                let Some((kind, count, _)) = self.ground.remove(&m.entity.into()) else {
                    return client.refuse(m.request.into(), ErrorCode::ItemGone, false);
                };
                let slots = &mut accounts[client.account.unwrap()].2;
                let held = slots.iter().find(|(_, stack)| stack.0 == kind).map(|(&slot, _)| slot);
                let slot = held.or_else(|| (0..28).find(|slot| !slots.contains_key(slot))).unwrap();
                let stack = slots.entry(slot).or_insert((kind, 0));
                stack.1 += count;
                let slot = InventorySlot { slot, kind, count: stack.1 };
                let answer = PickedUp { request: m.request.into(), entity: m.entity.into(), slot };
                message::append(&mut client.out, &answer);
            }
            ClientMessage::Drop(m) => {
                let pos = client.player.as_ref().unwrap().pos;
                let slots = &mut accounts[client.account.unwrap()].2;
                let (kind, had) = slots[&m.slot];
                let left = had - u32::from(m.count);
                if left == 0 {
                    slots.remove(&m.slot)
                } else {
                    slots.insert(m.slot, (kind, left))
                };
                let entity = self.put_down(kind, m.count.into(), pos);
                let slot = InventorySlot { slot: m.slot, kind, count: left };
                message::append(&mut client.out, &Dropped { request: m.request.into(), entity, slot });
            }
            ClientMessage::Ping(m) => message::append(&mut client.out, &Pong { stamp: m.stamp.into() }),
            ClientMessage::AskTrade(m) => client.refuse(m.request.into(), ErrorCode::PartnerGone, false),
            ClientMessage::Equip(m) => client.refuse(m.request.into(), ErrorCode::NotWearable, false),
            ClientMessage::Deposit(m) => client.refuse(m.request.into(), ErrorCode::NotAtBank, false),
            ClientMessage::Move(_)
            | ClientMessage::Unequip(_)
            | ClientMessage::OpenBank(_)
            | ClientMessage::Withdraw(_)
            | ClientMessage::AcceptTrade(_)
            | ClientMessage::Offer(_)
            | ClientMessage::ConfirmTrade(_)
            | ClientMessage::CancelTrade(_) => unreachable!("nothing was worn, banked or traded"),
            ClientMessage::Resume(_) | ClientMessage::Acknowledge(_) | ClientMessage::RedeemTicket(_) => {
                unreachable!("no ticket was given out")
            }
            ClientMessage::Logout(m) => {
                if self.plan.loses_items_at_logout {
                    accounts[client.account.unwrap()].2.pop_last();
                }
                message::append(&mut client.out, &LoggedOut { request: m.request.into() });
                client.over = true;
            }
        }
    }

    /// One tick: every player takes the inputs it has, and is told of everything.
    fn step(&mut self, clients: &mut [Client]) {
        self.tick += 1;
        for player in clients.iter_mut().filter_map(|client| client.player.as_mut()) {
            for (sequence, heading) in player.inputs.drain(..) {
                player.ack = sequence;
                if !(self.plan.loses_inputs && sequence % 10 == 0) {
                    player.pos = step(&self.map, player.pos, displacement(heading, SPEED));
                }
            }
        }
        let players = clients.iter().filter_map(|client| client.player.as_ref());
        let mut enters: Vec<Enter> = players
            .map(|player| Enter { entity: player.entity, local: player.pos.local(), kind: 0, state: 0 })
            .collect();
        let names: Vec<Name> = enters.iter().map(|enter| Name::new(enter.entity, "Bot")).collect();
        enters.extend(self.ground.iter().map(|(&entity, &(kind, count, pos))| {
            let kind = EntityKind::item(ItemKind(kind)).0;
            Enter { entity, local: pos.local(), kind, state: count as u16 }
        }));
        let block = BlockHead {
            cell: CellKey { x: 0, y: 0 },
            mode: BLOCK_FULL,
            reserved: 0,
            updates: 0,
            enters: enters.len() as u32,
            names: names.len() as u32,
            leaves: 0,
        };
        for client in clients.iter_mut().filter(|client| !client.over) {
            let Some(Player { pos, ack, .. }) = &client.player else { continue };
            let head = SnapshotHead {
                tick: self.tick,
                input_ack: *ack,
                x: pos.x,
                y: pos.y,
                dropped: 0,
                groups: 0,
                blocks: 1,
                reserved: 0,
            };
            append_frame(&mut client.out, SNAPSHOT_KIND, |out| {
                out.extend_from_slice(bytemuck::bytes_of(&head));
                out.extend_from_slice(bytemuck::bytes_of(&block));
                out.extend_from_slice(bytemuck::cast_slice(&enters));
                out.extend_from_slice(bytemuck::cast_slice(&names));
            });
        }
    }
}
