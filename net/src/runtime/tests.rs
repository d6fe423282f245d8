use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::*;
use crate::cpu;

on_both_drivers! {
    ticks_come_at_the_step_until_stopped,
    the_first_tick_waits_for_the_phase,
    an_overrun_is_late_caught_up_on_and_shed_beyond_the_backlog,
    a_panic_in_a_tick_ends_the_shard_and_is_told,
    a_panic_while_it_is_made_is_told_by_spawn,
    what_cannot_be_made_is_told_by_spawn,
    a_shard_is_pinned_and_named,
    a_processor_that_does_not_exist_is_refused,
}

fn host(driver: Driver, name: &str) -> ShardHost {
    ShardHost {
        name: name.into(),
        cpu: None,
        driver,
        io_memory_bytes: 0,
        tick_hz: 100,
        backlog_ticks: 3,
        phase: Duration::ZERO,
    }
}

/// A shard that tells of each tick and then does something.
struct Told<F> {
    ticks: Sender<TickStart>,
    then: F,
}

impl<F: FnMut()> Tick for Told<F> {
    fn tick(&mut self, start: &TickStart) {
        self.ticks.send(*start).unwrap();
        (self.then)();
    }
}

fn spawn(host: ShardHost, then: impl FnMut() + Send + 'static) -> (ShardHandle, Receiver<TickStart>) {
    let (ticks, told) = channel();
    (spawn_shard(host, || Ok::<_, Infallible>(Told { ticks, then })).unwrap(), told)
}

fn ticks_come_at_the_step_until_stopped(driver: Driver) {
    let begin = Instant::now();
    let (shard, told) = spawn(host(driver, "steady"), || {});
    let ticks: Vec<_> = told.iter().take(20).collect();
    // 20 ticks take 19 steps of 10 ms, however late each is.
    assert!(begin.elapsed() >= Duration::from_millis(190));
    for pair in ticks.windows(2) {
        assert_eq!(pair[1].number, pair[0].number + 1 + pair[1].shed);
    }
    assert!(!shard.has_ended());
    shard.stop();
    shard.join().unwrap();
    assert!(told.iter().count() <= 20, "it went on for long");
}

fn the_first_tick_waits_for_the_phase(driver: Driver) {
    let begin = Instant::now();
    let (shard, told) = spawn(ShardHost { phase: Duration::from_millis(60), ..host(driver, "phase") }, || {});
    let first = told.recv().unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(60));
    assert_eq!(first.number, 0, "the wait does not count as lateness: {first:?}");
    shard.stop();
    shard.join().unwrap();
}

fn an_overrun_is_late_caught_up_on_and_shed_beyond_the_backlog(driver: Driver) {
    let mut calls = 0;
    let (shard, told) = spawn(host(driver, "overrun"), move || {
        calls += 1;
        if calls == 3 {
            std::thread::sleep(Duration::from_millis(105));
        }
    });
    let ticks: Vec<TickStart> = told.iter().skip(2).take(2).collect();
    shard.stop();
    shard.join().unwrap();
    // At least 95 ms have passed since the next tick was due: 9 more are, and all but 3 of them are shed.
    let [slow, next] = ticks[..] else { panic!("{ticks:?}") };
    assert!(next.late && next.shed >= 6, "{ticks:?}");
    assert!(next.lateness >= Duration::from_millis(95), "{ticks:?}");
    assert_eq!(next.number, slow.number + 1 + next.shed);
}

fn a_panic_in_a_tick_ends_the_shard_and_is_told(driver: Driver) {
    let mut calls = 0;
    let (shard, told) = spawn(host(driver, "panics"), move || {
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

fn a_panic_while_it_is_made_is_told_by_spawn(driver: Driver) {
    struct Never;
    impl Tick for Never {
        fn tick(&mut self, _: &TickStart) {}
    }
    let made = spawn_shard(host(driver, "unmade"), || -> Result<Never, Infallible> { panic!("no map") });
    assert!(matches!(made.unwrap_err(), ShardError::Panicked { text, .. } if text == "no map"));
}

fn what_cannot_be_made_is_told_by_spawn(driver: Driver) {
    struct Never;
    impl Tick for Never {
        fn tick(&mut self, _: &TickStart) {}
    }
    let made = spawn_shard(host(driver, "unmade"), || Err::<Never, _>("no ring"));
    assert!(matches!(made.unwrap_err(), ShardError::Make { text, .. } if text == "no ring"));
}

fn a_shard_is_pinned_and_named(driver: Driver) {
    let cpu = *cpu::usable().unwrap().last().unwrap();
    let (send, receive) = channel();
    let (shard, _told) = spawn(ShardHost { cpu: Some(cpu), ..host(driver, "pinned-shard-12") }, move || {
        send.send(cpu::usable().unwrap()).unwrap();
    });
    assert_eq!(receive.recv().unwrap(), [cpu]);
    let threads = cpu::threads_by_name("pinned-shard-12").unwrap();
    assert!(threads.iter().any(|thread| thread.name == "pinned-shard-12"), "{threads:?}");
    shard.stop();
    shard.join().unwrap();
}

fn a_processor_that_does_not_exist_is_refused(driver: Driver) {
    struct Never;
    impl Tick for Never {
        fn tick(&mut self, _: &TickStart) {}
    }
    let made =
        spawn_shard(ShardHost { cpu: Some(4095), ..host(driver, "nowhere") }, || Ok::<_, Infallible>(Never));
    let error = made.unwrap_err();
    assert!(matches!(error, ShardError::Cpu { cpu: 4095, .. }), "{error}");
}
