//! Sessions outlive their connections: whenever a connection breaks, and however, nothing is lost, nothing is done or told
//! twice, and nobody else can take a session up.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use rustix::net::{AddressFamily, SocketType, sockopt};
use vyuha_net::client::{BlockingClient, ClientCore, ClientError, Event};
use vyuha_protocol::message::{Acknowledge, Hello, Resume};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{EntityId, ErrorCode, PROTOCOL_VERSION, RequestId, ZoneId};
use vyuha_tests::{COIN, DEPOT, Identity, Mover, Node, Options, PASSWORD, PATIENCE, Player, Wire, YARD};

fn options() -> Options {
    Options::test_world().with("session-grace", "20s")
}

/// A client whose connections break at any byte, with all that it was told.
struct Torn {
    server: SocketAddr,
    core: ClientCore,
    stream: TcpStream,
    events: Vec<Event>,
    rng: Pcg64,
    /// Connections so far: each comes from another address.
    connections: u32,
}

impl Torn {
    /// Signs in with a character that exists.
    fn sign_in(node: &Node, who: &Identity) -> Torn {
        let core = ClientCore::new(node.content());
        let stream = connect(node.listen, 0);
        let rng = Pcg64::seed_from_u64(7);
        let mut torn = Torn { server: node.listen, core, stream, events: Vec::new(), rng, connections: 1 };
        torn.core.hello().unwrap();
        torn.core.log_in(&who.account, PASSWORD).unwrap();
        torn.core.select_character(who.character).unwrap();
        torn.until("it is in the zone", |event| matches!(event, Event::Snapshot(_)));
        torn
    }

    /// Sends at most so many bytes.
    fn write(&mut self, most: usize) {
        while !self.core.outgoing().is_empty() {
            let outgoing = self.core.outgoing();
            let bytes = &outgoing[..outgoing.len().min(most)];
            if bytes.is_empty() {
                return;
            }
            // The server may have ended the connection: that is what is tested.
            let Ok(sent) = self.stream.write(bytes) else { return };
            self.core.mark_sent(sent);
            if sent >= most {
                return;
            }
        }
    }

    /// Reads at most so many bytes within a time, and takes the events. `false` once the stream has ended.
    fn read(&mut self, most: usize, within: Duration) -> bool {
        self.stream.set_read_timeout(Some(within.max(Duration::from_millis(1)))).unwrap();
        let mut buffer = vec![0; most];
        match self.stream.read(&mut buffer) {
            Ok(0) if most > 0 => return false,
            Ok(bytes) => self.core.receive(&buffer[..bytes]).unwrap(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return false,
        }
        while let Some(event) = self.core.next_event().expect("what is told can be followed") {
            self.events.push(event);
        }
        true
    }

    /// Breaks the connection off, with a reset or in good order, and begins anew.
    fn tear(&mut self) {
        if self.rng.random() {
            sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
        }
        self.connections += 1;
        self.stream = connect(self.server, self.connections);
        self.core.resume().unwrap();
    }

    fn until(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.events.len();
        while !self.events[seen..].iter().any(&is_it) {
            seen = self.events.len();
            assert!(Instant::now() < deadline, "it never came that {what}: {:?}", self.events.last());
            self.write(usize::MAX);
            assert!(self.read(1 << 16, Duration::from_millis(50)), "ended before {what}");
        }
    }

    /// Asks for the next deed with coins: few enough lie on the ground that some are always left in the slot.
    fn drop_or_pick_up(&mut self, slot: u8, on_the_ground: &mut Vec<EntityId>) -> RequestId {
        if on_the_ground.len() < 3 {
            self.core.drop_items(slot, 1).unwrap()
        } else {
            self.core.pick_up(on_the_ground.remove(0)).unwrap()
        }
    }

    /// Whether the session is taken up and every request answered.
    fn is_settled(&self, resumed: usize) -> bool {
        self.resumed() >= resumed && self.core.requests_pending().next().is_none()
    }

    fn resumed(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Resumed)).count()
    }
}

/// A connection from one of many addresses of this machine.
fn connect(server: SocketAddr, from: u32) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let from = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2 + (from % 100) as u8), 0);
    rustix::net::bind(&socket, &from).unwrap();
    rustix::net::connect(&socket, &server).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream
}

/// Says numbers for as long as it is let, and gives how many.
fn talk(mut speaker: Player, stop: &AtomicBool) -> usize {
    let mut said = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = speaker.client.core().say(&said.to_string()).unwrap();
        let answer =
            speaker.client.answer(request, |event| matches!(event, Event::Done { .. }).then_some(()));
        match answer {
            Ok(()) => said += 1,
            Err(ClientError::Refused { code: Some(ErrorCode::ChatTooFast), .. }) => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => panic!("{error}"),
        }
    }
    speaker.log_out();
    said
}

#[test]
fn wherever_connections_break_nothing_is_lost_and_nothing_comes_twice() {
    const ROUNDS: usize = 60;
    let node = Node::start(&options());
    let mover = Mover::start(&node, 11);
    let mut player = Player::sign_up(&node, "Torn", DEPOT);
    let slot = (0..3).map(|_| player.pick_up_any(COIN).slot).max().expect("three heaps were picked up");
    let mut coins = player.inventory[&slot].count;
    let who = player.log_out();

    let mut torn = Torn::sign_in(&node, &who);
    let stop = Arc::new(AtomicBool::new(false));
    let speakers: Vec<_> = ["Ahn", "Bea", "Cid"]
        .map(|name| {
            let (speaker, stop) = (Player::sign_up(&node, name, DEPOT), stop.clone());
            (speaker.who.name.clone(), std::thread::spawn(move || talk(speaker, &stop)))
        })
        .into();
    let mut asked: Vec<RequestId> = Vec::new();
    let mut on_the_ground: Vec<EntityId> = Vec::new();
    let (mut said, mut resumed) = (0, 0);
    for round in 0..ROUNDS {
        // Asked for before, between and after breaks.
        let events_before = torn.events.len();
        if round % 6 == 0 {
            said += 1;
            asked.push(torn.core.say(&format!("I {said}")).unwrap());
        }
        asked.push(torn.drop_or_pick_up(slot, &mut on_the_ground));
        let _ = torn.core.input(Heading { x: 30, y: 0 });
        if torn.rng.random() {
            asked.push(torn.drop_or_pick_up(slot, &mut on_the_ground));
        }
        for _ in 0..torn.rng.random_range(1..4) {
            let most = torn.core.outgoing().len() + 1;
            let most = torn.rng.random_range(0..=most);
            torn.write(most);
            for _ in 0..torn.rng.random_range(0..4) {
                let (most, wait) = (torn.rng.random_range(1..600), torn.rng.random_range(1..40));
                if !torn.read(most, Duration::from_millis(wait)) {
                    break;
                }
            }
            torn.tear();
            if torn.rng.random_range(0..3) == 0 {
                asked.push(torn.drop_or_pick_up(slot, &mut on_the_ground));
            }
        }
        resumed = torn.resumed().max(resumed) + 1;
        let deadline = Instant::now() + PATIENCE;
        while !torn.is_settled(resumed) {
            assert!(Instant::now() < deadline, "round {round}: {:?}", torn.events.last());
            torn.write(usize::MAX);
            assert!(torn.read(1 << 16, Duration::from_millis(20)), "round {round}: {:?}", torn.events.last());
        }
        resumed = torn.resumed();
        for event in &torn.events[events_before..] {
            match event {
                Event::Dropped { entity, slot, .. } => {
                    coins = slot.count;
                    on_the_ground.push(*entity);
                }
                Event::PickedUp { slot, .. } => coins = slot.count,
                Event::Refused { code, .. } => {
                    assert!(matches!(code, Some(ErrorCode::ChatTooFast)), "round {round}: {event:?}");
                }
                Event::Closed { .. } => panic!("round {round}: {event:?}"),
                _ => {}
            }
        }
    }
    assert!(mover.finish().len() > 5, "few moves prove little");
    stop.store(true, Ordering::Relaxed);
    let told: BTreeMap<String, usize> =
        speakers.into_iter().map(|(name, speaker)| (name, speaker.join().unwrap())).collect();
    torn.core.ping(77).unwrap();
    torn.until("it is answered", |event| matches!(event, Event::Pong { stamp: 77 }));

    // Each request has one answer: another one would have been a fault.
    assert!(asked.len() > ROUNDS && torn.core.requests_pending().next().is_none());
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in &torn.events {
        if let Event::Said { name, text, .. } = event {
            heard.entry(name.clone()).or_default().push(text.clone());
        }
    }
    for (name, said) in told {
        let wanted: Vec<String> = (0..said).map(|n| n.to_string()).collect();
        let heard = heard.remove(&name).unwrap_or_default();
        // What was said before anybody was there was not for it.
        assert!(
            !wanted.is_empty() && wanted.ends_with(&heard) && heard.len() + 1 >= wanted.len(),
            "{heard:?}"
        );
    }
    let mut own = heard.remove(&who.name).unwrap_or_default();
    own.dedup();
    let refused = torn.events.iter().filter(|event| matches!(event, Event::Refused { .. })).count();
    assert_eq!(own.len() + refused, said as usize, "{own:?}");
    assert!(heard.is_empty(), "{heard:?}");

    torn.core.log_out().unwrap();
    torn.until("it is logged out", |event| matches!(event, Event::LoggedOut { .. }));
    let again = who.sign_in(&node);
    assert_eq!(again.inventory[&slot].count, coins, "what is stored is what was told");
    again.log_out();
}

#[test]
fn a_character_stays_for_its_grace_and_no_longer() {
    let node = Node::start(&options().with("session-grace", "2s"));
    let mut witness = Player::sign_up(&node, "Witness", DEPOT);
    let mut player = Player::sign_up(&node, "Gone", DEPOT);
    let entity = player.entity();
    player.snapshot();
    let begun = Instant::now();
    let mut client = break_off(player);
    witness.until("the character", |core| core.world().get(entity).map(drop));
    while begun.elapsed() < Duration::from_millis(1500) {
        witness.snapshot();
        assert!(witness.client.core().world().get(entity).is_some(), "after {:?}", begun.elapsed());
    }
    witness.until("nobody there", |core| core.world().get(entity).is_none().then_some(()));
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_refused(&mut client, &node);
    witness.log_out();
}

/// The session cannot be taken up: said before the seat is free by the shard, which closes, and after it by the control plane.
fn assert_refused(client: &mut BlockingClient, node: &Node) {
    let refused = client.resume(node.listen);
    let Err(ClientError::Refused { code, .. } | ClientError::Closed { code, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(code, Some(ErrorCode::ResumeRefused));
}

/// Ends a player's connection in good order and keeps what is known of the session.
fn break_off(player: Player) -> BlockingClient {
    let mut client = player.client;
    client.shut_down();
    client
}

#[test]
fn a_newer_login_takes_the_character_over_from_one_who_is_awaited() {
    let node = Node::start(&options());
    let player = Player::sign_up(&node, "Away", DEPOT);
    let who = player.who.clone();
    let mut client = break_off(player);
    let begun = Instant::now();
    let again = who.sign_in(&node);
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits for the grace to end");
    assert_refused(&mut client, &node);
    again.log_out();
}

#[test]
fn a_session_is_taken_up_while_its_old_connection_is_still_open() {
    let node = Node::start(&options());
    let player = Player::sign_up(&node, "Twice", DEPOT);
    let mut client = player.client;
    client.resume(node.listen).expect("it goes on");
    client.resume(node.listen).expect("and once more");
    client.log_out().expect("it leaves");
}

#[test]
fn tickets_that_are_not_good_open_nothing() {
    let node = Node::start(&options());
    let hello = Hello { version: PROTOCOL_VERSION, content_hash: node.content().hash };
    let mut wire = Wire::connect(&node);
    wire.send(&Resume { ticket: [0; 16], received: 0 });
    wire.expect_refused(0, ErrorCode::OutOfOrder);
    wire.send(&hello);
    wire.expect("Welcome");
    for _ in 0..5 {
        wire.send(&Resume { ticket: [9; 16], received: 0 });
        wire.expect_refused(0, ErrorCode::ResumeRefused);
    }
    // Nobody guesses for long.
    wire.send(&Resume { ticket: [9; 16], received: 0 });
    wire.expect_closed(ErrorCode::Flood);
}

#[test]
fn bad_bytes_leave_nothing_to_take_up() {
    let node = Node::start(&options());
    let mut player = Player::sign_up(&node, "Bad", DEPOT);
    player.client.core().send(&Acknowledge { received: u32::MAX }).unwrap();
    assert_eq!(player.closed(), ErrorCode::Malformed);
    assert_refused(&mut player.client, &node);
}

#[test]
fn tickets_end_with_the_node_and_those_who_are_awaited_are_saved() {
    let mut node = Node::start(&options());
    let player = Player::sign_up(&node, "Late", DEPOT);
    let who = player.who.clone();
    let mut client = break_off(player);
    let exit = node.terminate();
    assert!(exit.took < Duration::from_secs(10), "it does not wait for the grace to end: {exit:?}");
    node.start_again();
    let refused = client.resume(node.listen);
    assert!(
        matches!(refused, Err(ClientError::Refused { code: Some(ErrorCode::ResumeRefused), .. })),
        "{refused:?}"
    );
    client.log_in(&who.account, PASSWORD).expect("the same connection serves to sign in");
    who.sign_in(&node).log_out();
}

const NORTH: Heading = Heading { x: 0, y: -127 };
const SOUTH: Heading = Heading { x: 0, y: 127 };

/// Walks until the character comes out in another zone.
fn walk_through(player: &mut Player, heading: Heading, zone: ZoneId) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{} never got to zone {zone}", player.who.name);
        // One that is too far ahead waits for the next snapshot.
        let _ = player.client.core().input(heading);
        let entered = player.client.wait_for(PATIENCE, |event| match event {
            Event::Snapshot(_) => Some(None),
            Event::EnteredZone(entered) => Some(Some(entered.clone())),
            _ => None,
        });
        if let Some(entered) = entered.expect("it goes on") {
            assert_eq!((entered.zone, entered.request), (zone, RequestId(0)));
            player.entered = entered;
            return;
        }
    }
}

#[test]
fn who_walks_into_a_zone_of_another_shard_goes_on_there_with_all_that_is_its_own() {
    let mut node = Node::start(&options());
    let mut witness = Player::sign_up(&node, "Watch", DEPOT);
    let mut walker = Player::sign_up(&node, "Walker", DEPOT);
    let slot = walker.pick_up_any(COIN);
    for round in 0..2 {
        let entity = walker.entity();
        witness.until("the walker", |core| core.world().get(entity).map(drop));
        walk_through(&mut walker, SOUTH, YARD);
        witness.until("nobody there", |core| core.world().get(entity).is_none().then_some(()));
        walk_through(&mut walker, NORTH, DEPOT);
        assert_eq!(walker.say(&format!("round {round}")), Ok(()));
        let heard = witness.client.wait_for(PATIENCE, |event| match event {
            Event::Said { name, text, .. } if *name == walker.who.name => Some(text.clone()),
            _ => None,
        });
        assert_eq!(heard.unwrap(), format!("round {round}"));
        let left = walker.drop_items(slot.slot, 1).expect("it still carries that").1;
        assert_eq!(left.count, slot.count - round - 1);
    }
    walk_through(&mut walker, SOUTH, YARD);
    let who = walker.log_out();
    node.kill_9();
    node.start_again();
    let walker = who.sign_in(&node);
    assert_eq!((walker.entered.zone, walker.inventory[&slot.slot].count), (YARD, slot.count - 2));
}

#[test]
fn who_walks_between_shards_loses_nothing_wherever_connections_break() {
    const CROSSINGS: usize = 6;
    let node = Node::start(&options());
    // Half of the crossings between zones that stay where they are.
    let mut mover = None;
    let mut player = Player::sign_up(&node, "Strider", DEPOT);
    let slot = player.pick_up_any(COIN).slot;
    let who = player.log_out();
    let mut torn = Torn::sign_in(&node, &who);
    let deadline = Instant::now() + 2 * PATIENCE;
    let crossings = |torn: &Torn| {
        let walked = |event: &&Event| matches!(event, Event::EnteredZone(e) if e.request == RequestId(0));
        torn.events.iter().filter(walked).count()
    };
    let mut asked = 0;
    while crossings(&torn) < CROSSINGS {
        assert!(Instant::now() < deadline, "{} crossings", crossings(&torn));
        if crossings(&torn) >= CROSSINGS / 2 && mover.is_none() {
            mover = Some(Mover::start(&node, 13));
        }
        let heading = if crossings(&torn).is_multiple_of(2) { SOUTH } else { NORTH };
        let _ = torn.core.input(heading);
        // Something is always on its way, whatever comes of it.
        if torn.core.requests_pending().count() < 3 {
            torn.core.drop_items(slot, 0).unwrap();
            asked += 1;
        }
        torn.write(usize::MAX);
        let ended = !torn.read(1 << 16, Duration::from_millis(30));
        let is_near = torn.core.predictor().is_some_and(|predictor| {
            let (x, y) = predictor.pos().tile();
            (x == 8 && y < 4) || (x == 24 && y > 38)
        });
        if ended || torn.rng.random_range(0..if is_near { 3 } else { 40 }) == 0 {
            torn.tear();
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while torn.core.requests_pending().next().is_some() {
        assert!(Instant::now() < deadline, "{:?}", torn.events.last());
        torn.write(usize::MAX);
        if !torn.read(1 << 16, Duration::from_millis(30)) {
            torn.tear();
        }
    }
    assert!(mover.expect("it began").finish().len() > 5, "few moves prove little");
    let refused = torn.events.iter().filter(|event| matches!(event, Event::Refused { .. })).count();
    assert_eq!(refused, asked, "each request has one answer");
    assert!(torn.connections > 4, "{} connections prove little", torn.connections);
    torn.core.log_out().unwrap();
    torn.until("it is logged out", |event| matches!(event, Event::LoggedOut { .. }));
}

#[test]
fn a_newer_login_finds_its_character_wherever_it_walks() {
    let node = Node::start(&options());
    let _mover = Mover::start(&node, 17);
    let mut player = Player::sign_up(&node, "Hunted", YARD);
    let who = player.who.clone();
    std::thread::scope(|scope| {
        for login in 0..6 {
            let walks = scope.spawn(move || {
                let begun = Instant::now();
                let heading = if player.entered.zone == YARD { NORTH } else { SOUTH };
                loop {
                    let _ = player.client.core().input(heading);
                    let next = player
                        .client
                        .wait_for(PATIENCE, |event| matches!(event, Event::Snapshot(_)).then_some(()));
                    match next {
                        Ok(()) => assert!(begun.elapsed() < PATIENCE, "nobody took it over"),
                        Err(ClientError::Closed { code: Some(ErrorCode::SignedInElsewhere), .. }) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            // Somewhere about the gate, which is 1.5 s away at first.
            std::thread::sleep(Duration::from_millis(1200 + 120 * login));
            player = who.sign_in(&node);
            walks.join().unwrap();
        }
    });
}
