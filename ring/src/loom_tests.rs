//! Every order in which two threads can run a protocol, as far as loom's bounds go (`cargo xtask loom` sets them).
//!
//! A lost waking is a deadlock to loom; two owners of a slot or of a waker, and a read of what was not yet published,
//! are failures of its cells.

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize as StdAtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use loom::thread;

use crate::spsc::starting_at;
use crate::{Bell, Consumer, Polled, Producer, Sleeper, Wake, bell, ring, ring_with};

/// Pushes, and lets the consumer go on while the ring is full.
fn push<W: Wake>(producer: &mut Producer<u32, W>, mut item: u32) {
    while let Err(back) = producer.push(item) {
        assert!(!producer.is_closed());
        item = back;
        thread::yield_now();
    }
}

#[test]
fn items_keep_their_order_through_a_full_ring() {
    loom::model(|| {
        // The third index wraps around, the second item fills the ring.
        let (mut producer, mut consumer) = starting_at(usize::MAX - 1, 2, Polled);
        let writer = thread::spawn(move || (1..=4).for_each(|item| push(&mut producer, item)));
        for expected in 1..=4 {
            let item = loop {
                match consumer.pop() {
                    Some(item) => break item,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(item, expected);
        }
        writer.join().unwrap();
        assert!(consumer.pop().is_none() && consumer.is_closed());
    });
}

#[test]
fn batches_are_written_and_read_in_place() {
    loom::model(|| {
        let (mut producer, mut consumer) = starting_at(usize::MAX, 4, Polled);
        let writer = thread::spawn(move || {
            let mut last = 0;
            while last < 6 {
                let (first, second) = producer.reserve((6 - last as usize).min(3));
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
        });
        let mut last = 0;
        while last < 6 {
            let (first, second) = consumer.ready();
            let mut items = 0;
            for item in first.iter().chain(&*second) {
                (last, items) = (last + 1, items + 1);
                assert_eq!(*item, last);
            }
            consumer.release(items);
            if items == 0 {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
        assert!(consumer.is_closed());
    });
}

#[test]
fn a_producer_that_went_is_seen_after_all_it_committed() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring(2);
        let writer = thread::spawn(move || {
            push(&mut producer, 1);
            push(&mut producer, 2);
        });
        let mut sum = 0;
        while !consumer.is_closed() {
            match consumer.peek() {
                Some(item) => {
                    sum += *item;
                    consumer.release(1);
                }
                None => thread::yield_now(),
            }
        }
        assert_eq!(sum, 3, "closed before the last item was read");
        writer.join().unwrap();
    });
}

#[test]
fn a_consumer_that_went_is_seen_and_every_item_is_dropped_once() {
    loom::model(|| {
        let counted = StdArc::new(());
        let (mut producer, mut consumer) = ring(2);
        let items = [Some(counted.clone()), Some(counted.clone())];
        let writer = thread::spawn(move || {
            for item in items {
                if producer.push(item).is_err() {
                    assert!(producer.is_closed(), "there was room for both");
                }
            }
        });
        drop(consumer.pop());
        drop(consumer);
        writer.join().unwrap();
        assert_eq!(StdArc::strong_count(&counted), 1);
    });
}

/// Reads until every producer is gone; sleeps in between.
fn sum_until_closed(sleeper: &mut Sleeper, mut consumers: Vec<Consumer<u32>>) -> u32 {
    let mut sum = 0;
    while !consumers.is_empty() {
        for consumer in &mut consumers {
            while let Some(item) = consumer.pop() {
                sum += item;
            }
        }
        // What is closed now is not waited for.
        consumers.retain(|consumer| !consumer.is_closed());
        sleeper.wait(|| {
            consumers.is_empty()
                || consumers.iter().any(|consumer| !consumer.is_empty() || consumer.is_closed())
        });
    }
    sum
}

#[test]
fn a_sleeping_thread_misses_nothing_of_one_ring() {
    loom::model(|| {
        let (bell, mut sleeper) = bell();
        let (mut producer, consumer) = ring_with(2, bell);
        let writer = thread::spawn(move || (1..=2).for_each(|item| producer.push(item).unwrap()));
        assert_eq!(sum_until_closed(&mut sleeper, vec![consumer]), 3);
        writer.join().unwrap();
    });
}

#[test]
fn a_sleeping_thread_misses_nothing_of_two_rings() {
    // Three threads: two preemptions are what takes seconds.
    let mut bounded = loom::model::Builder::new();
    bounded.preemption_bound = Some(2);
    bounded.check(|| {
        let (bell, mut sleeper) = bell();
        let rings = [ring_with(1, bell.clone()), ring_with(1, bell)];
        let [(one, ones), (two, twos)] = rings;
        // The rings stay open: that one of them closes would hide a lost waking.
        let writers = [one, two].map(|mut producer| {
            thread::spawn(move || {
                producer.push(1).unwrap();
                producer
            })
        });
        sleeper.wait(|| !ones.is_empty() && !twos.is_empty());
        drop(writers.map(|writer| writer.join().unwrap()));
    });
}

#[test]
fn a_producer_that_goes_wakes_the_sleeper() {
    loom::model(|| {
        let (bell, mut sleeper) = bell();
        let (producer, consumer) = ring_with::<u32, _>(1, bell);
        let writer = thread::spawn(move || drop(producer));
        sleeper.wait(|| consumer.is_closed());
        writer.join().unwrap();
    });
}

#[test]
fn a_sleeping_task_misses_nothing() {
    loom::model(|| {
        let (bell, mut sleeper) = bell();
        let (mut producer, mut consumer) = ring_with(2, bell);
        let writer = thread::spawn(move || (1..=2).for_each(|item| producer.push(item).unwrap()));
        let mut sum = 0;
        while sum < 3 {
            loom::future::block_on(std::future::poll_fn(|context| {
                sleeper.poll(context, || !consumer.is_empty())
            }));
            while let Some(item) = consumer.pop() {
                sum += item;
            }
        }
        writer.join().unwrap();
    });
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(StdAtomicUsize);

impl std::task::Wake for Count {
    fn wake(self: StdArc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn the_waker_that_was_stored_last_is_woken_and_only_once() {
    loom::model(|| {
        let (bell, mut sleeper) = bell();
        let (mut producer, consumer) = ring_with(2, bell);
        let writer = thread::spawn(move || (1..=2).for_each(|item| producer.push(item).unwrap()));
        let counts = [(); 2].map(|()| StdArc::new(Count::default()));
        // A task that moves is polled with another waker although nothing happened.
        let polls = counts.each_ref().map(|count| {
            let waker = Waker::from(count.clone());
            sleeper.poll(&mut Context::from_waker(&waker), || !consumer.is_empty())
        });
        writer.join().unwrap();
        let woken = counts.map(|count| count.0.load(Relaxed));
        if polls[1] == Poll::Pending {
            assert_eq!(woken[1], 1, "the stored waker was not woken once: {woken:?}");
        }
        assert!(woken[0] <= 1 && woken[1] <= 1, "a storm: {woken:?}");
    });
}

#[test]
fn of_two_bells_that_ring_at_once_one_wakes() {
    loom::model(|| {
        let (bell, mut sleeper) = bell();
        let count = StdArc::new(Count::default());
        let waker = Waker::from(count.clone());
        assert!(sleeper.poll(&mut Context::from_waker(&waker), || false).is_pending());
        let ring_it = |bell: Bell| thread::spawn(move || bell.wake());
        let ringing = [ring_it(bell.clone()), ring_it(bell)];
        let _: [(); 2] = ringing.map(|ringing| ringing.join().unwrap());
        assert_eq!(count.0.load(Relaxed), 1);
    });
}
