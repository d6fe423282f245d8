use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::cpu;

fn host(name: &str) -> ShardHost {
    ShardHost {
        name: name.into(),
        cpu: None,
        io_memory_bytes: 0,
        tick_hz: 100,
        backlog_ticks: 3,
        phase: Duration::ZERO,
    }
}

/// A shard that tells of each tick and then does something.
struct Told<F> {
    ticks: Sender<(TickStart, u64)>,
    then: F,
}

impl<F: FnMut()> Tick for Told<F> {
    fn tick(&mut self, start: &TickStart, stats: &LoopStats) {
        self.ticks.send((*start, stats.ticks)).unwrap();
        (self.then)();
    }
}

fn spawn(host: ShardHost, then: impl FnMut() + Send + 'static) -> (ShardHandle, Receiver<(TickStart, u64)>) {
    let (ticks, told) = channel();
    (spawn_shard(host, || Told { ticks, then }).unwrap(), told)
}

#[test]
fn ticks_come_at_the_step_until_stopped() {
    let begin = Instant::now();
    let (shard, told) = spawn(host("steady"), || {});
    let ticks: Vec<_> = told.iter().take(20).collect();
    // 20 ticks take 19 steps of 10 ms, however late each is.
    assert!(begin.elapsed() >= Duration::from_millis(190));
    for (index, (start, ticks_before)) in ticks.iter().enumerate() {
        assert_eq!(*ticks_before, index as u64);
        assert!(start.number >= index as u64);
    }
    assert!(!shard.has_ended());
    shard.stop();
    let stats = shard.join().unwrap();
    assert_eq!(stats.ticks, 20 + told.iter().count() as u64);
    assert_eq!((stats.lateness_us.len(), stats.duration_us.len()), (stats.ticks, stats.ticks));
}

#[test]
fn the_first_tick_waits_for_the_phase() {
    let begin = Instant::now();
    let (shard, told) = spawn(ShardHost { phase: Duration::from_millis(60), ..host("phase") }, || {});
    let (first, _) = told.recv().unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(60));
    assert_eq!(first.number, 0, "the wait does not count as lateness: {first:?}");
    shard.stop();
    shard.join().unwrap();
}

#[test]
fn an_overrun_is_late_caught_up_on_and_shed_beyond_the_backlog() {
    let mut calls = 0;
    let (shard, told) = spawn(host("overrun"), move || {
        calls += 1;
        if calls == 3 {
            std::thread::sleep(Duration::from_millis(105));
        }
    });
    let ticks: Vec<TickStart> = told.iter().map(|(start, _)| start).skip(2).take(2).collect();
    shard.stop();
    let stats = shard.join().unwrap();
    // At least 95 ms have passed since the next tick was due: 9 more are, and all but 3 of them are shed.
    let [slow, next] = ticks[..] else { panic!("{ticks:?}") };
    assert!(next.late && next.shed >= 6, "{ticks:?}");
    assert!(next.lateness >= Duration::from_millis(95), "{ticks:?}");
    assert_eq!(next.number, slow.number + 1 + next.shed);
    assert!(stats.shed >= next.shed && stats.late >= 1);
    assert!(stats.duration_us.max() >= 104_000, "{}", stats.duration_us.max());
    assert!(stats.lateness_us.max() >= 94_000, "{}", stats.lateness_us.max());
}

#[test]
fn a_panic_in_a_tick_ends_the_shard_and_is_told() {
    let mut calls = 0;
    let (shard, told) = spawn(host("panics"), move || {
        calls += 1;
        assert!(calls < 4, "call {calls} is cursed");
    });
    while !shard.has_ended() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let error = shard.join().unwrap_err();
    assert!(
        matches!(&error, ShardError::Panicked { name, text } if name == "panics" && text == "call 4 is cursed"),
        "{error}"
    );
    assert_eq!(told.iter().count(), 4);
}

#[test]
fn a_panic_while_it_is_made_is_told_by_spawn() {
    struct Never;
    impl Tick for Never {
        fn tick(&mut self, _: &TickStart, _: &LoopStats) {}
    }
    let made = spawn_shard(host("unmade"), || -> Never { panic!("no map") });
    assert!(matches!(made.unwrap_err(), ShardError::Panicked { text, .. } if text == "no map"));
}

#[test]
fn a_shard_is_pinned_and_named() {
    let cpu = *cpu::usable().unwrap().last().unwrap();
    let (send, receive) = channel();
    let (shard, _told) = spawn(ShardHost { cpu: Some(cpu), ..host("pinned-shard-12") }, move || {
        send.send(cpu::usable().unwrap()).unwrap();
    });
    assert_eq!(receive.recv().unwrap(), [cpu]);
    let threads = cpu::threads_by_name("pinned-shard-12").unwrap();
    assert!(threads.iter().any(|thread| thread.name == "pinned-shard-12"), "{threads:?}");
    shard.stop();
    shard.join().unwrap();
}

#[test]
fn a_processor_that_does_not_exist_is_refused() {
    struct Never;
    impl Tick for Never {
        fn tick(&mut self, _: &TickStart, _: &LoopStats) {}
    }
    let made = spawn_shard(ShardHost { cpu: Some(4095), ..host("nowhere") }, || Never);
    let error = made.unwrap_err();
    assert!(matches!(error, ShardError::Cpu { cpu: 4095, .. }), "{error}");
}
