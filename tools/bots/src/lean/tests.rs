use super::*;
use proptest::prelude::*;
use vyuha_protocol::frame::append_frame;
use vyuha_protocol::message::{Done, Error, Input, LoggedOut, Pong, append};
use vyuha_protocol::snapshot::SNAPSHOT_KIND;
use vyuha_protocol::{EntityId, RequestId, ZoneId};

const STEP_NS: u64 = SECOND_NS / 30;
/// A zone that a gate leads to.
const BEYOND: ZoneId = ZoneId(2);

fn lean(role: Role) -> Lean {
    let mut map = TileMap::open(20, 20);
    (3..17).for_each(|y| map.set_wall(10, y));
    let entered = EnteredZone {
        request: RequestId(5),
        zone: ZoneId(1),
        tick_hz: 30,
        speed: 341,
        entity: EntityId(9),
        pos: Pos::tile_centre(5, 5),
        inventory: vec![],
        worn: vec![],
    };
    let map = Arc::new(map);
    let maps = [(entered.zone, map.clone()), (BEYOND, Arc::new(TileMap::open(8, 8)))].into();
    let content = Arc::new(ClientContent { hash: [0; 32], maps });
    Lean::new(&entered, content, map, role, 5, Pcg32::new(3, 4), 0)
}

/// A server that knows one character, and carries out what it is sent.
struct Server {
    map: Arc<TileMap>,
    pos: Pos,
    ack: u32,
    tick: u32,
}

impl Server {
    fn of(lean: &Lean) -> Server {
        Server { map: lean.map.clone(), pos: lean.pos, ack: 0, tick: 0 }
    }

    fn carry_out(&mut self, frame: &[u8]) {
        let heading = Heading { x: frame[12] as i8, y: frame[13] as i8 };
        self.pos = step(&self.map, self.pos, displacement(heading, 341));
        self.ack += 1;
        assert_eq!(frame, input_frame(self.ack, heading));
    }

    fn snapshot(&mut self) -> Vec<u8> {
        self.tick += 1;
        snapshot(self.tick, self.ack, self.pos)
    }
}

fn snapshot(tick: u32, input_ack: u32, pos: Pos) -> Vec<u8> {
    let (x, y) = (pos.x, pos.y);
    let head = SnapshotHead { tick, input_ack, x, y, dropped: 0, groups: 0, blocks: 0, reserved: 0 };
    let mut out = Vec::new();
    append_frame(&mut out, SNAPSHOT_KIND, |out| out.extend_from_slice(bytemuck::bytes_of(&head)));
    out
}

fn frame<M: message::Message>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    append(&mut out, message);
    out
}

/// What is wrong with what the server says.
fn faults(lean: &mut Lean, bytes: &[u8], window: &mut Window, now_ns: u64) -> Vec<Contradiction> {
    let mut wrong = Vec::new();
    let fate = lean.take(bytes, window, now_ns, &mut |contradiction| wrong.push(contradiction));
    assert_eq!(fate, Ok(Fate::Plays));
    wrong
}

#[test]
fn an_input_written_in_place_is_the_message() {
    for (sequence, x, y) in [(1, 0, 0), (0x0102_0304, 127, -127), (u32::MAX, -1, -128)] {
        let expected = frame(&Input { sequence, heading_x: x, heading_y: y });
        assert_eq!(input_frame(sequence, Heading { x, y })[..], expected);
    }
}

proptest! {
    #[test]
    fn a_walk_that_the_server_follows_is_never_corrected(
        steps in proptest::collection::vec((0_usize..4, any::<bool>()), 1..400),
    ) {
        let mut lean = lean(Role::Wanderer);
        let (mut server, mut window, mut way) = (Server::of(&lean), Window::default(), Vec::new());
        let mut now_ns = 0;
        for (carried_out, shown) in steps {
            now_ns += STEP_NS;
            let mut out = Vec::new();
            lean.ping_ns = NEVER;
            lean.step(&mut out, &mut window, None, now_ns);
            way.extend(out.chunks_exact(INPUT_BYTES).map(<[u8]>::to_vec));
            for frame in way.drain(..carried_out.min(way.len())) {
                server.carry_out(&frame);
            }
            if shown {
                prop_assert_eq!(faults(&mut lean, &server.snapshot(), &mut window, now_ns), []);
                prop_assert_eq!(lean.sequence - lean.acknowledged, way.len() as u32);
            }
            prop_assert!(way.len() <= PENDING_MAX as usize);
            prop_assert!(lean.map.is_open(lean.pos));
        }
        prop_assert_eq!(window.corrections, 0);
    }
}
const NEVER: u64 = u64::MAX;

#[test]
fn a_character_that_was_moved_goes_on_from_there() {
    let mut lean = lean(Role::Wanderer);
    let (mut server, mut window) = (Server::of(&lean), Window::default());
    for tick in 1..=40 {
        let mut out = Vec::new();
        lean.ping_ns = NEVER;
        lean.step(&mut out, &mut window, None, tick * STEP_NS);
        server.carry_out(&out);
        if tick == 20 {
            server.pos = Pos::tile_centre(15, 15);
        }
        if tick % 4 == 0 {
            assert_eq!(faults(&mut lean, &server.snapshot(), &mut window, tick * STEP_NS), []);
            assert_eq!(lean.pos, server.pos);
        }
    }
    assert_eq!((window.corrections, window.inputs, window.snapshots), (1, 40, 10));
    let times = window.input_to_snapshot.distribution();
    assert_eq!((times.count, times.max.round()), (40, 100.0), "the oldest of four waited three steps");
    assert_eq!(window.snapshot_gap.distribution().count, 9);
}

#[test]
fn a_gate_leads_on_and_is_no_correction() {
    let mut lean = lean(Role::Wanderer);
    let mut window = Window::default();
    lean.ping_ns = NEVER;
    for tick in 1..=3 {
        lean.step(&mut Vec::new(), &mut window, None, tick * STEP_NS);
    }
    let to = Pos::tile_centre(4, 4);
    let entered = |zone: ZoneId| message::EnteredZone {
        request: 0,
        zone: zone.0,
        tick_hz: 15,
        speed: 300,
        entity: 8,
        x: to.x,
        y: to.y,
        inventory: vec![],
        worn: vec![],
        nonce: 5,
    };
    assert_eq!(faults(&mut lean, &frame(&entered(BEYOND)), &mut window, 4 * STEP_NS), []);
    assert_eq!(lean.place(), (BEYOND, 15));
    // The first of the three led to the gate; the other two are still to be carried out there.
    assert_eq!(faults(&mut lean, &snapshot(1, 1, to), &mut window, 5 * STEP_NS), []);
    let mut pos = to;
    for sequence in 2..=3 {
        let heading = lean.pending[sequence].heading;
        pos = step(&TileMap::open(8, 8), pos, displacement(heading, 300));
    }
    assert_eq!((lean.pos, window.corrections), (pos, 0));
    let nowhere = faults(&mut lean, &frame(&entered(ZoneId(9))), &mut window, 6 * STEP_NS);
    assert_eq!(nowhere, [Contradiction::OutOfPlace("a zone without a map")]);
}

#[test]
fn what_contradicts_the_protocol_is_told() {
    let mut lean = lean(Role::Wanderer);
    let (mut window, home) = (Window::default(), Pos::tile_centre(5, 5));
    let mut check = |bytes: &[u8], expected: Option<Contradiction>| {
        let found = faults(&mut lean, bytes, &mut window, STEP_NS);
        assert_eq!(found, Vec::from_iter(expected));
    };
    check(&snapshot(7, 0, home), None);
    check(&snapshot(7, 0, home), Some(Contradiction::TickNotRising { tick: 7, last: 7 }));
    check(&snapshot(8, 1, home), Some(Contradiction::Ack { ack: 1, acknowledged: 0, sent: 0 }));
    let wall = Pos::tile_centre(10, 5);
    check(&snapshot(9, 0, wall), Some(Contradiction::Blocked(wall)));
    check(&frame(&Done { request: 6 }), Some(Contradiction::NotAsked("Done", 6)));
    let refusal =
        |code: ErrorCode| frame(&Error { request: 6, code: code as u16, closing: false, text: "no".into() });
    check(&refusal(ErrorCode::ChatTooFast), None);
    check(&refusal(ErrorCode::OutOfOrder), Some(Contradiction::Refused("no".into())));
    assert_eq!(window.refused.values().sum::<u64>(), 2);
    let take = |bytes: &[u8]| {
        let mut lean = self::lean(Role::Wanderer);
        lean.take(bytes, &mut Window::default(), 0, &mut |wrong| panic!("{wrong}"))
    };
    assert!(matches!(take(&[0, 0, 0, 0, 1, 0, 0, 1]), Err(Contradiction::Frame(_))));
    assert!(matches!(take(&[1, 0, 0, 0, 1, 0, 0, 0, 9]), Err(Contradiction::Decode(_))));
    let closing = Error { request: 0, code: ErrorCode::Flood as u16, closing: true, text: "off".into() };
    assert_eq!(take(&frame(&closing)), Ok(Fate::Closed(Some(ErrorCode::Flood), "off".into())));
}

#[test]
fn requests_are_answered_one_at_a_time() {
    let mut lean = lean(Role::Chatter);
    let (mut window, mut out) = (Window::default(), Vec::new());
    while lean.open.is_none() {
        lean.step(&mut out, &mut window, None, STEP_NS);
        lean.acknowledged = lean.sequence;
    }
    assert_eq!((lean.open, window.commands), (Some((Request::Say, 6, STEP_NS)), 1));
    assert!(lean.check_answers(STEP_NS + ANSWER_NS_MAX + 1).is_err());
    lean.leave(&mut out, &mut window, 2 * STEP_NS);
    assert_eq!(window.commands, 1, "a text is still open");
    let answers = [frame(&Pong { stamp: STEP_NS }), frame(&Done { request: 6 })].concat();
    assert_eq!(faults(&mut lean, &answers, &mut window, 2 * STEP_NS), []);
    assert!((33.0..34.0).contains(&window.rtt.distribution().max));
    lean.leave(&mut out, &mut window, 3 * STEP_NS);
    let fate = lean
        .take(&frame(&LoggedOut { request: 7 }), &mut window, 4 * STEP_NS, &mut |wrong| panic!("{wrong}"));
    assert_eq!(fate, Ok(Fate::LoggedOut));
}

#[test]
fn a_crowd_gathers_and_stays() {
    let mut lean = lean(Role::Crowd);
    let (mut window, mut out, place) = (Window::default(), Vec::new(), Pos::tile_centre(15, 15));
    let near = 2 * u64::from(CROWD_RADIUS).pow(2);
    let mut near_steps = 0;
    for n in 0..2000 {
        lean.step(&mut out, &mut window, Some(place), n * STEP_NS);
        lean.acknowledged = lean.sequence;
        near_steps += u32::from(n >= 1000 && lean.pos.distance_squared(place) < near);
    }
    assert!(near_steps > 500, "{near_steps} of 1000 steps near");
}

#[test]
fn a_session_is_taken_up_by_its_ticket_and_told_what_was_received() {
    let (mut lean, mut window, mut out) = (lean(Role::Resumer), Window::default(), Vec::new());
    assert!(!lean.can_resume(), "there is no ticket");
    lean.set_session(Some(([1; 16], 4)));
    let said = frame(&message::Said { entity: 3, name: "Other".into(), text: "hello".into() });
    // Half of the last one is lost with the connection.
    let bytes = [&said[..], &frame(&Pong { stamp: 0 }), &said, &said[..9]].concat();
    assert_eq!(faults(&mut lean, &bytes, &mut window, 0), []);
    lean.resume(&mut out, 1000);
    let hello = frame(&Hello { version: PROTOCOL_VERSION, content_hash: [0; 32] });
    let resume = |ticket: u8, received| frame(&Resume { ticket: [ticket; 16], received });
    assert_eq!(out, [hello.clone(), resume(1, 6)].concat());
    assert!(!lean.can_resume(), "it is at it");
    out.clear();
    lean.step(&mut out, &mut window, None, 2000);
    lean.leave(&mut out, &mut window, 2000);
    assert!(out.is_empty(), "nothing is said meanwhile");
    let welcome = frame(&message::Welcome { version: PROTOCOL_VERSION, build: "test".into() });
    let resumed = frame(&message::Resumed { ticket: [2; 16], request: 5 });
    assert_eq!(faults(&mut lean, &[welcome, resumed, said].concat(), &mut window, 3_001_000), []);
    assert_eq!(window.resumed.distribution().count, 1);
    lean.step(&mut out, &mut window, None, 4_000_000);
    assert!(out.starts_with(&frame(&Acknowledge { received: 7 })));
    out.clear();
    lean.resume(&mut out, 5_000_000);
    assert_eq!(out, [hello, resume(2, 7)].concat());
    let refused =
        Error { request: 0, code: ErrorCode::ResumeRefused as u16, closing: false, text: "no".into() };
    let fate = lean.take(&frame(&refused), &mut window, 0, &mut |_| panic!("that may happen"));
    assert_eq!(fate, Ok(Fate::Closed(Some(ErrorCode::ResumeRefused), "no".into())));
}

#[test]
fn who_is_idle_gives_a_sign_of_life_and_nothing_else() {
    let (mut lean, mut window, mut out) = (lean(Role::Idle), Window::default(), Vec::new());
    for step in 0..30 * 25 {
        lean.step(&mut out, &mut window, None, step * STEP_NS);
    }
    let pings: Vec<u8> =
        [0, 300, 600].iter().flat_map(|step| frame(&Ping { stamp: step * STEP_NS })).collect();
    let stamps = out.chunks(16).count();
    assert_eq!((stamps, out.len(), window.inputs), (3, pings.len(), 0));
}
