use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::thread;

use proptest::prelude::*;

use crate::spsc::starting_at;
use crate::{Polled, Wake, bell, ring, ring_with};

/// Counts how often it is told of something new.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Wake for Count {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn panics(run: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

#[test]
fn capacities_are_powers_of_two() {
    for (asked, given) in [(1, 1), (2, 2), (3, 4), (4, 4), (1000, 1024)] {
        let (mut producer, mut consumer) = ring(asked);
        assert_eq!((producer.capacity(), consumer.capacity()), (given, given), "asked for {asked}");
        for item in 0..given {
            assert_eq!(producer.push(item), Ok(()));
        }
        assert_eq!((producer.push(7), consumer.ready().0.len()), (Err(7), given), "asked for {asked}");
    }
    for refused in [0, usize::MAX] {
        assert!(panics(|| drop(ring::<u64>(refused))), "{refused}");
    }
}

#[test]
fn only_what_was_reserved_is_committed_and_only_what_was_ready_is_released() {
    let (mut producer, mut consumer) = ring::<u8>(4);
    assert!(panics(|| producer.commit(5)));
    producer.commit(3);
    // One slot is free, three items are there; the consumer has not looked yet.
    assert!(panics(|| producer.commit(2)) && panics(|| consumer.release(1)));
    assert_eq!(consumer.ready().0.len(), 3);
    assert!(panics(|| consumer.release(4)));
    consumer.release(3);
    // The producer has not looked yet.
    assert!(panics(|| producer.commit(2)));
    assert_eq!(producer.reserve(9).0.len() + producer.reserve(9).1.len(), 4);
    producer.commit(4);
}

#[test]
fn each_end_sees_that_the_other_is_gone() {
    let (mut producer, consumer) = ring::<u8>(2);
    assert!(producer.push(1).is_ok() && !producer.is_closed());
    drop(consumer);
    assert!(producer.is_closed() && producer.push(2) == Err(2) && producer.reserve(1).0.is_empty());

    let (mut producer, mut consumer) = ring::<u8>(2);
    producer.push(1).unwrap();
    drop(producer);
    assert!(!consumer.is_closed(), "an item is left");
    assert_eq!((consumer.pop(), consumer.is_closed(), consumer.pop()), (Some(1), true, None));
}

#[test]
fn an_item_is_dropped_when_its_slot_is_written_anew_or_with_the_ring() {
    let item = Arc::new(());
    let alive = |item: &Arc<()>| Arc::strong_count(item) - 1;
    let (mut producer, mut consumer) = ring(2);
    producer.push(Some(item.clone())).unwrap();
    producer.push(Some(item.clone())).unwrap();
    assert!(consumer.peek().is_some_and(|slot| slot.is_some()));
    consumer.release(1);
    assert_eq!(alive(&item), 2, "released, and left in its slot");
    producer.push(None).unwrap();
    assert_eq!(alive(&item), 1, "written over");
    drop(consumer.pop());
    assert_eq!(alive(&item), 0, "taken out");
    consumer.pop();
    producer.push(Some(item.clone())).unwrap();
    drop(consumer);
    drop(producer);
    assert_eq!(alive(&item), 0);
}

#[test]
fn the_consumer_is_told_once_a_batch_and_of_the_end() {
    let count = Count::default();
    let (mut producer, _consumer) = ring_with::<u8, _>(8, count.clone());
    let told = || count.0.load(Ordering::Relaxed);
    producer.reserve(5);
    producer.commit(5);
    assert_eq!(told(), 1);
    producer.commit(0);
    assert_eq!(told(), 1, "nothing is nothing new");
    producer.push(1).unwrap();
    assert_eq!(told(), 2);
    drop(producer);
    assert_eq!(told(), 3);
}

#[test]
fn a_sleeper_is_woken_once_a_sleep() {
    let (bell, mut sleeper) = bell();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    let woken = || count.0.load(Ordering::Relaxed);
    bell.wake();
    assert!(sleeper.poll(&mut context, || false).is_pending());
    assert_eq!(woken(), 0, "it rang before anybody slept");
    for sleeps in 1..=3 {
        bell.wake();
        bell.clone().wake();
        assert_eq!(woken(), sleeps);
        assert!(sleeper.poll(&mut context, || false).is_pending());
    }
    assert!(sleeper.poll(&mut context, || true).is_ready());
    // Found at the second look: nobody sleeps, so nobody is woken.
    bell.wake();
    let mut looks = 0;
    let second_look = || {
        looks += 1;
        looks == 2
    };
    assert!(sleeper.poll(&mut context, second_look).is_ready());
    let before = woken();
    bell.wake();
    assert_eq!(woken(), before);
}

#[test]
fn two_threads_hand_over_everything_in_order_and_the_sleeper_sleeps() {
    const ITEMS: u64 = if cfg!(miri) { 300 } else { 100_000 };
    let (bell, mut sleeper) = bell();
    let (mut producer, mut consumer) = ring_with::<u64, _>(64, bell);
    let writer = thread::spawn(move || {
        let mut last = 0;
        while last < ITEMS {
            let (first, second) = producer.reserve((last % 70) as usize + 1);
            let mut items = 0;
            for slot in first.iter_mut().chain(second) {
                (last, items) = (last + 1, items + 1);
                *slot = last;
            }
            producer.commit(items);
            if items == 0 {
                thread::yield_now();
            }
        }
        last
    });
    let mut last = 0;
    while !consumer.is_closed() {
        sleeper.wait(|| !consumer.is_empty() || consumer.is_closed());
        let (first, second) = consumer.ready();
        let items = first.len() + second.len();
        for item in first.iter().chain(&*second) {
            last += 1;
            assert_eq!(*item, last);
        }
        consumer.release(items);
    }
    assert_eq!(writer.join().unwrap(), last);
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    /// Reserve so many, commit a part of them (in tenths).
    Write(usize, usize),
    Pop,
    Peek,
    /// Release a part of what is ready (in tenths).
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Push),
        (0..20_usize, 0..=10_usize).prop_map(|(slots, tenths)| Step::Write(slots, tenths)),
        Just(Step::Pop),
        Just(Step::Peek),
        (0..=10_usize).prop_map(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    /// A ring is a bounded queue, wherever its indices are and whatever is done in which order.
    #[test]
    fn a_ring_is_a_bounded_queue(
        capacity in 1..10_usize,
        before_wrap in 0..12_usize,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let (mut producer, mut consumer) = starting_at(0_usize.wrapping_sub(before_wrap), capacity, Polled);
        let capacity = producer.capacity();
        let mut queue = VecDeque::new();
        let mut last = 0_u32;
        for step in steps {
            match step {
                Step::Push => {
                    last += 1;
                    let pushed = producer.push(last);
                    prop_assert_eq!(pushed, if queue.len() < capacity { Ok(()) } else { Err(last) });
                    if pushed.is_ok() {
                        queue.push_back(last);
                    }
                }
                Step::Write(slots, tenths) => {
                    let (first, second) = producer.reserve(slots);
                    let reserved = first.len() + second.len();
                    prop_assert_eq!(reserved, slots.min(capacity - queue.len()));
                    let committed = reserved * tenths / 10;
                    for (at, slot) in first.iter_mut().chain(second).enumerate() {
                        last += 1;
                        *slot = last;
                        if at < committed {
                            queue.push_back(last);
                        }
                    }
                    producer.commit(committed);
                }
                Step::Pop => prop_assert_eq!(consumer.pop(), queue.pop_front()),
                Step::Peek => prop_assert_eq!(consumer.peek().copied(), queue.front().copied()),
                Step::Read(tenths) => {
                    let (first, second) = consumer.ready();
                    let ready: Vec<u32> = first.iter().chain(&*second).copied().collect();
                    prop_assert_eq!(&ready[..], &queue.iter().copied().collect::<Vec<_>>()[..]);
                    let released = ready.len() * tenths / 10;
                    consumer.release(released);
                    queue.drain(..released);
                }
            }
            prop_assert_eq!(consumer.is_empty(), queue.is_empty());
        }
    }
}
