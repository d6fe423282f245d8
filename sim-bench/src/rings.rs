//! The rings between threads beside other queues: one thread writes, another reads, both as fast as they can.
//!
//! Everyone moves the same items in the same batches through as many slots, in turn within each round, by the calls
//! that suit it best: ours and rtrb write and read in place, crossbeam's channel takes and gives item by item. A side
//! that finds no room, or nothing, spins for a moment and then gives its processor up; a reader that sleeps is woken by
//! the queue, which rtrb does not do.

use std::fmt;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel;
use serde::Serialize;

use crate::progress::Progress;
use crate::statistics::{Spread, spread, thousandths};

/// Slots of every queue.
const CAPACITY: usize = 1024;
/// Items that one thread hands to the other in a round. A multiple of every batch, and few enough that most rounds are
/// over before others on the machine interrupt them.
const ITEMS: u64 = 1 << 15;
/// Items in a batch.
const BATCHES: [usize; 3] = [1, 16, 256];
/// Looks in vain before a side gives its processor up: others may need it.
const SPINS_MAX: u32 = 200;

const _: () = {
    let mut at = 0;
    while at < BATCHES.len() {
        assert!(ITEMS.is_multiple_of(BATCHES[at] as u64) && BATCHES[at] <= CAPACITY);
        at += 1;
    }
};

/// A number, as often as the item is wide.
#[derive(Debug, Clone, Copy)]
struct Item<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Default for Item<WORDS> {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl<const WORDS: usize> Item<WORDS> {
    fn of(number: u64) -> Self {
        Self([number; WORDS])
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, word| sum.wrapping_add(*word))
    }
}

/// Waits for the other side.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    fn wait(&mut self) {
        self.0 += 1;
        if self.0 < SPINS_MAX {
            spin_loop();
        } else {
            thread::yield_now();
        }
    }

    fn renew(&mut self) {
        self.0 = 0;
    }
}

/// Moves [`ITEMS`] items in such batches, and says how long that took.
type Run = fn(usize) -> Duration;

/// What a reader does that finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// Looks again.
    Polls,
    /// Sleeps until it is woken.
    Sleeps,
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Reader::Polls => "polls",
            Reader::Sleeps => "sleeps",
        })
    }
}

/// Whose queue, and how it is read.
struct Queue {
    name: &'static str,
    reader: Reader,
    run: Run,
}

/// Everyone; of those with the same reader ours first.
fn queues<const WORDS: usize>() -> [Queue; 5] {
    let queue = |name, reader, run| Queue { name, reader, run };
    [
        queue("vyuha", Reader::Polls, vyuha_polls::<WORDS>),
        queue("rtrb", Reader::Polls, rtrb_polls::<WORDS>),
        queue("crossbeam", Reader::Polls, crossbeam_polls::<WORDS>),
        queue("vyuha", Reader::Sleeps, vyuha_sleeps::<WORDS>),
        queue("crossbeam", Reader::Sleeps, crossbeam_sleeps::<WORDS>),
    ]
}

/// Runs `send` on a thread of its own and `receive` here, from one moment on: both are awake, for waking one takes longer
/// than all the items of a fast queue. `receive` gives the sum of all it read.
fn race<const WORDS: usize>(send: impl FnOnce() + Send, receive: impl FnOnce() -> u64) -> Duration {
    let (here, there) = (AtomicBool::new(false), AtomicBool::new(false));
    let meet = |own: &AtomicBool, other: &AtomicBool| {
        own.store(true, Ordering::Release);
        let mut patience = Patience::default();
        while !other.load(Ordering::Acquire) {
            patience.wait();
        }
    };
    let (time, sum) = thread::scope(|scope| {
        scope.spawn(|| {
            meet(&there, &here);
            send();
        });
        meet(&here, &there);
        let begin = Instant::now();
        let sum = receive();
        (begin.elapsed(), sum)
    });
    let expected = (0..ITEMS).sum::<u64>().wrapping_mul(WORDS as u64);
    assert_eq!(sum, expected, "everything arrives once");
    time
}

fn vyuha_polls<const WORDS: usize>(batch: usize) -> Duration {
    let (producer, mut consumer) = vyuha_ring::ring::<Item<WORDS>>(CAPACITY);
    let receive = || {
        let mut patience = Patience::default();
        read(batch, &mut consumer, |consumer| {
            if consumer.is_empty() {
                patience.wait();
            } else {
                patience.renew();
            }
        })
    };
    race::<WORDS>(|| write(batch, producer), receive)
}

fn vyuha_sleeps<const WORDS: usize>(batch: usize) -> Duration {
    let (bell, mut sleeper) = vyuha_ring::bell();
    let (producer, mut consumer) = vyuha_ring::ring_with::<Item<WORDS>, _>(CAPACITY, bell);
    let receive = || read(batch, &mut consumer, |consumer| sleeper.wait(|| !consumer.is_empty()));
    race::<WORDS>(|| write(batch, producer), receive)
}

fn write<const WORDS: usize, W: vyuha_ring::Wake>(
    batch: usize,
    mut producer: vyuha_ring::Producer<Item<WORDS>, W>,
) {
    let mut patience = Patience::default();
    let mut number = 0;
    let mut left = batch;
    while number < ITEMS {
        let (first, second) = producer.reserve(left);
        let free = first.len() + second.len();
        for slot in first.iter_mut().chain(second) {
            *slot = Item::of(number);
            number += 1;
        }
        producer.commit(free);
        if free == 0 {
            patience.wait();
        } else {
            patience.renew();
            left = if free == left { batch } else { left - free };
        }
    }
}

fn read<const WORDS: usize>(
    batch: usize,
    consumer: &mut vyuha_ring::Consumer<Item<WORDS>>,
    mut wait: impl FnMut(&vyuha_ring::Consumer<Item<WORDS>>),
) -> u64 {
    let (mut sum, mut items) = (0_u64, 0);
    while items < ITEMS {
        let read = if batch == 1 {
            consumer.peek().map_or(0, |item| {
                sum = sum.wrapping_add(item.sum());
                1
            })
        } else {
            let (first, second) = consumer.ready();
            sum = first.iter().chain(&*second).fold(sum, |sum, item| sum.wrapping_add(item.sum()));
            first.len() + second.len()
        };
        consumer.release(read);
        items += read as u64;
        if read == 0 {
            wait(consumer);
        }
    }
    sum
}

fn rtrb_polls<const WORDS: usize>(batch: usize) -> Duration {
    let (mut producer, mut consumer) = rtrb::RingBuffer::<Item<WORDS>>::new(CAPACITY);
    let send = move || {
        let mut patience = Patience::default();
        let mut number = 0;
        while number < ITEMS {
            let sent = if batch == 1 {
                producer.push(Item::of(number)).is_ok()
            } else {
                let numbers = number..number + batch as u64;
                let chunk = producer.write_chunk_uninit(batch);
                chunk.map(|chunk| chunk.fill_from_iter(numbers.map(Item::of))).is_ok()
            };
            if sent {
                number += batch as u64;
                patience.renew();
            } else {
                patience.wait();
            }
        }
    };
    race::<WORDS>(send, || {
        let mut patience = Patience::default();
        let (mut sum, mut items) = (0_u64, 0);
        while items < ITEMS {
            let read = if batch == 1 {
                consumer.pop().map_or(0, |item| {
                    sum = sum.wrapping_add(item.sum());
                    1
                })
            } else {
                let slots = consumer.slots();
                consumer.read_chunk(slots).map_or(0, |chunk| {
                    let (first, second) = chunk.as_slices();
                    sum = first.iter().chain(second).fold(sum, |sum, item| sum.wrapping_add(item.sum()));
                    chunk.commit_all();
                    slots
                })
            };
            items += read as u64;
            if read == 0 {
                patience.wait();
            } else {
                patience.renew();
            }
        }
        sum
    })
}

fn crossbeam_polls<const WORDS: usize>(_: usize) -> Duration {
    let (sender, receiver) = channel::bounded::<Item<WORDS>>(CAPACITY);
    let receive = || {
        let mut patience = Patience::default();
        let (mut sum, mut items) = (0_u64, 0);
        while items < ITEMS {
            if let Ok(item) = receiver.try_recv() {
                sum = sum.wrapping_add(item.sum());
                items += 1;
                patience.renew();
            } else {
                patience.wait();
            }
        }
        sum
    };
    race::<WORDS>(|| send(&sender), receive)
}

fn crossbeam_sleeps<const WORDS: usize>(_: usize) -> Duration {
    let (sender, receiver) = channel::bounded::<Item<WORDS>>(CAPACITY);
    let receive = || {
        let items = receiver.iter().take(ITEMS as usize);
        items.fold(0_u64, |sum, item| sum.wrapping_add(item.sum()))
    };
    race::<WORDS>(|| send(&sender), receive)
}

fn send<const WORDS: usize>(sender: &channel::Sender<Item<WORDS>>) {
    let mut patience = Patience::default();
    for number in 0..ITEMS {
        while sender.try_send(Item::of(number)).is_err() {
            patience.wait();
        }
        patience.renew();
    }
}

/// One queue with one width of items and one size of batches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RingsRow {
    /// Whose queue.
    pub queue: &'static str,
    /// What its reader does that finds nothing.
    pub reader: Reader,
    /// Bytes of an item.
    pub item_bytes: usize,
    /// Items in a batch. Crossbeam's channel knows none.
    pub batch: usize,
    /// From one thread to the other, over all items.
    pub ns_per_item: Spread,
    /// Its time over that of ours with the same reader in the same round: the median of the rounds.
    pub ratio: f64,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RingsReport {
    /// Every queue with every width and batch.
    pub rows: Vec<RingsRow>,
}

/// Lets everyone move the same items, in turn, for some rounds after one that does not count.
///
/// # Panics
/// If `rounds` is 0.
pub fn measure(rounds: usize) -> RingsReport {
    let widths = [(8, queues::<1>()), (64, queues::<8>()), (256, queues::<32>())];
    let mut progress = Progress::new("rings".to_owned(), widths.len() * BATCHES.len());
    let mut rows = Vec::new();
    for (item_bytes, queues) in widths {
        for batch in BATCHES {
            let mut series = vec![Vec::with_capacity(rounds); queues.len()];
            for round in 0..=rounds {
                for at in 0..queues.len() {
                    // Everyone is first in turn.
                    let at = (at + round) % queues.len();
                    let ns = (queues[at].run)(batch).as_secs_f64() * 1e9 / ITEMS as f64;
                    if round > 0 {
                        series[at].push(ns);
                    }
                }
            }
            rows.extend(queues.iter().zip(&series).map(|(&Queue { name: queue, reader, .. }, ns)| {
                let ours = queues.iter().position(|queue| queue.reader == reader).expect("it is one of them");
                let ratios: Vec<f64> = ns.iter().zip(&series[ours]).map(|(its, ours)| its / ours).collect();
                let Spread { min, p50, p99 } = spread(ns);
                let ns_per_item =
                    Spread { min: thousandths(min), p50: thousandths(p50), p99: thousandths(p99) };
                let ratio = thousandths(spread(&ratios).p50);
                RingsRow { queue, reader, item_bytes, batch, ns_per_item, ratio }
            }));
            progress.at(rows.len() / queues.len());
        }
    }
    RingsReport { rows }
}

impl fmt::Display for RingsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ns an item from one thread to another: at best, in the median, over ours in the same round"
        )?;
        let mut above = None;
        for RingsRow { queue, reader, item_bytes, batch, ns_per_item, ratio } in &self.rows {
            if above.replace((item_bytes, batch)) != Some((item_bytes, batch)) {
                write!(f, "\n{item_bytes} bytes, batches of {batch}")?;
            }
            let Spread { min, p50, .. } = ns_per_item;
            write!(f, "\n  {queue:<10} {reader:<7} {min:8.2} {p50:8.2} {ratio:8.2}x")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_measured_with_every_width_and_batch() {
        let report = measure(1);
        assert_eq!(report.rows.len(), 5 * 3 * BATCHES.len());
        for row in &report.rows {
            assert!(row.ns_per_item.min > 0.0 && row.ratio > 0.0, "{row:?}");
            assert!(row.queue != "vyuha" || (row.ratio - 1.0).abs() < f64::EPSILON, "{row:?}");
        }
        assert_eq!(report.to_string().lines().count(), 1 + 6 * 3 * BATCHES.len());
    }
}
