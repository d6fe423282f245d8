mod upkeep;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    faulty::{Fault, FaultyDisk},
    segment::segment_path,
    *,
};

const SEGMENT_BYTES: u64 = 4096;
const SCHEMA: u64 = 77;

fn dir() -> PathBuf {
    "/journal".into()
}

fn config() -> JournalConfig {
    JournalConfig {
        dir: dir(),
        segment_bytes: SEGMENT_BYTES,
        bytes_max: 1 << 30,
        producers: 1,
        queue_batches: 8,
        schema: SCHEMA,
    }
}

fn open(disk: &FaultyDisk, applied_seq: u64) -> Result<(Journal, Producer), JournalError> {
    open_with(disk, &config(), applied_seq)
}

fn open_with(
    disk: &FaultyDisk,
    config: &JournalConfig,
    applied_seq: u64,
) -> Result<(Journal, Producer), JournalError> {
    let (journal, mut producers) =
        Journal::open(Arc::new(disk.clone()), config, applied_seq, Box::new(|_| {}))?;
    Ok((journal, producers.remove(0)))
}

/// The error of a journal that must not open.
fn refusal(disk: &FaultyDisk, applied_seq: u64) -> JournalError {
    open(disk, applied_seq).map(|_| ()).expect_err("the journal opens")
}

fn batch(number: u64, bytes: usize) -> Batch {
    Batch { number, bytes: vec![number as u8; bytes] }
}

/// Whether the batch became durable; false where the journal failed.
fn write(journal: &Journal, producer: &mut Producer, batch: Batch) -> bool {
    let number = batch.number;
    if producer.submit(batch).is_err() {
        return false;
    }
    while producer.durable() < number {
        if journal.failure().is_some() {
            return false;
        }
        thread::sleep(Duration::from_micros(20));
    }
    true
}

/// Submits batches of three bytes until the thread is stuck and the queue is full: how many were
/// taken, and the one refused.
fn fill(disk: &FaultyDisk, producer: &mut Producer) -> (u64, Batch) {
    for taken in 0.. {
        loop {
            match producer.submit(batch(taken + 1, 3)) {
                Ok(()) => break,
                Err(SubmitError::Full(batch)) if disk.segment_writes() == 1 => return (taken, batch),
                Err(SubmitError::Full(_)) => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    unreachable!("the queue is bounded")
}

/// A disk with a stopped journal of these batches, each in a frame of its own.
fn written(sizes: &[usize]) -> FaultyDisk {
    let disk = FaultyDisk::default();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    for (i, &bytes) in sizes.iter().enumerate() {
        assert!(write(&journal, &mut producer, batch(i as u64 + 1, bytes)));
    }
    drop(producer);
    journal.join().unwrap();
    disk
}

fn frames(journal: &Journal, from: u64) -> Vec<(u64, Vec<u8>)> {
    let mut reader = journal.reader(from);
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        frames.push((frame.seq, frame.payload.to_vec()));
    }
    frames
}

fn reopened(disk: &FaultyDisk) -> Vec<(u64, Vec<u8>)> {
    let (journal, producer) = open(disk, 0).unwrap();
    drop(producer);
    let frames = frames(&journal, 1);
    journal.join().unwrap();
    frames
}

fn expected(sizes: &[usize]) -> Vec<(u64, Vec<u8>)> {
    (1..).zip(sizes).map(|(number, &bytes)| (number, batch(number, bytes).bytes)).collect()
}

fn assert_corrupt(error: &JournalError, segment: u64, at: u64, says: &str) {
    let JournalError::Corrupt { file, offset, why } = error else { panic!("{error}") };
    assert_eq!((file, *offset), (&segment_path(&dir(), segment), at), "{why}");
    assert!(why.contains(says), "{why}");
}

#[test]
fn what_was_written_is_read_while_open_and_after() {
    let sizes = [10, 2000, 1, 1500, 3000, 7, batch_bytes_max(SEGMENT_BYTES)];
    let disk = written(&sizes);
    assert_eq!(reopened(&disk), expected(&sizes));
    let (journal, mut producer) = open(&disk, 0).unwrap();
    assert!(write(&journal, &mut producer, batch(1, 5)));
    assert_eq!(frames(&journal, 5).len(), 4);
    assert_eq!(frames(&journal, 8), [(8, vec![1; 5])]);
}

#[test]
fn bad_batches_are_refused() {
    let (_journal, mut producer) = open(&FaultyDisk::default(), 0).unwrap();
    let max = batch_bytes_max(SEGMENT_BYTES);
    assert!(matches!(producer.submit(batch(1, 0)), Err(SubmitError::Empty)));
    let too_large = producer.submit(batch(1, max + 1));
    assert!(
        matches!(too_large, Err(SubmitError::TooLarge { bytes, max: m }) if bytes == max + 1 && m == max)
    );
    assert!(matches!(producer.submit(batch(0, 1)), Err(SubmitError::OutOfOrder { number: 0, last: 0 })));
    producer.submit(batch(4, 1)).unwrap();
    assert!(matches!(producer.submit(batch(4, 1)), Err(SubmitError::OutOfOrder { number: 4, last: 4 })));
}

#[test]
fn bad_segment_sizes_are_refused() {
    for segment_bytes in [0, SEGMENT_BYTES_MIN - 8, SEGMENT_BYTES_MIN + 1, SEGMENT_BYTES_MAX + 8] {
        let config = JournalConfig { segment_bytes, ..config() };
        let opened = open_with(&FaultyDisk::default(), &config, 0).map(drop);
        assert!(matches!(opened, Err(JournalError::SegmentBytes { found }) if found == segment_bytes));
    }
}

#[test]
fn a_full_queue_gives_the_batch_back_and_one_sync_takes_what_waited() {
    let disk = FaultyDisk::default();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    disk.plant(Fault::StuckSync);
    let (taken, refused) = fill(&disk, &mut producer);
    assert_eq!(refused, batch(taken + 1, 3));
    assert_eq!(producer.durable(), 0, "nothing is acknowledged before the sync");
    disk.mend();
    while producer.durable() < taken {
        thread::yield_now();
    }
    assert!(write(&journal, &mut producer, refused));
    drop(producer);
    let frames = frames(&journal, 1);
    assert!(frames.len() <= 3, "{} frames for {} batches", frames.len(), taken + 1);
    let payload: Vec<u8> = frames.into_iter().flat_map(|(_, payload)| payload).collect();
    assert_eq!(payload, (1..=taken + 1).flat_map(|number| [number as u8; 3]).collect::<Vec<_>>());
}

#[test]
fn batches_that_do_not_fit_into_one_frame_follow_in_the_next() {
    let disk = FaultyDisk::default();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    let sizes = [1000, 3000, 1500, 1000, 3000, 3000];
    disk.plant(Fault::StuckSync);
    for (number, bytes) in (1..).zip(sizes) {
        producer.submit(batch(number, bytes)).unwrap();
    }
    disk.mend();
    drop(producer);
    let mut reader = journal.reader(1);
    let mut read = Vec::new();
    journal.join().unwrap();
    while let Some(frame) = reader.next_frame().unwrap() {
        read.extend_from_slice(frame.payload);
    }
    assert!(read == expected(&sizes).into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>());
}

#[test]
fn several_producers_keep_their_own_order() {
    let disk = FaultyDisk::default();
    let config = JournalConfig { producers: 3, ..config() };
    let (journal, producers) = Journal::open(Arc::new(disk), &config, 0, Box::new(|_| {})).unwrap();
    thread::scope(|scope| {
        for (index, mut producer) in producers.into_iter().enumerate() {
            let journal = &journal;
            scope.spawn(move || {
                for number in 1..=100 {
                    let bytes = vec![index as u8, number as u8];
                    assert!(write(journal, &mut producer, Batch { number, bytes }));
                }
            });
        }
    });
    let mut last = [0; 3];
    for (_, payload) in frames(&journal, 1) {
        for pair in payload.chunks(2) {
            last[pair[0] as usize] += 1;
            assert_eq!(pair[1], last[pair[0] as usize]);
        }
    }
    assert_eq!(last, [100; 3]);
}

#[test]
fn batches_are_written_in_the_order_of_their_submission_whoever_submits() {
    let disk = FaultyDisk::default();
    let config = JournalConfig { producers: 3, queue_batches: 64, ..config() };
    let (journal, mut producers) =
        Journal::open(Arc::new(disk.clone()), &config, 0, Box::new(|_| {})).unwrap();
    disk.plant(Fault::StuckSync);
    let mut submitted = Vec::new();
    for number in 1..=120 {
        // In no regular order, and now and then too large to share a frame with what waits.
        let bytes = if number % 11 == 0 { 3500 } else { 1 + number as usize * 37 % 400 };
        submitted.extend_from_slice(&batch(number, bytes).bytes);
        let producer = &mut producers[number as usize * 5 / 3 % 3];
        producer.submit(batch(number, bytes)).unwrap();
    }
    disk.mend();
    drop(producers);
    let mut reader = journal.reader(1);
    journal.join().unwrap();
    let mut read = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        read.extend_from_slice(frame.payload);
    }
    assert!(read == submitted);
}

#[test]
fn a_producer_with_a_full_queue_takes_no_room_from_another() {
    let disk = FaultyDisk::default();
    let config = JournalConfig { producers: 2, queue_batches: 2, ..config() };
    let (journal, mut producers) =
        Journal::open(Arc::new(disk.clone()), &config, 0, Box::new(|_| {})).unwrap();
    disk.plant(Fault::StuckSync);
    let (taken, _) = fill(&disk, &mut producers[0]);
    assert!(producers[1].submit(batch(1, 1)).is_ok() && producers[1].submit(batch(2, 1)).is_ok());
    disk.mend();
    drop(producers);
    let mut reader = journal.reader(1);
    journal.join().unwrap();
    let mut read = 0;
    while let Some(frame) = reader.next_frame().unwrap() {
        read += frame.payload.len() as u64;
    }
    // None was lost, and a refusal took no turn in line.
    assert_eq!(read, 3 * taken + 2);
}

#[test]
fn short_writes_are_continued() {
    let disk = FaultyDisk::default();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    disk.plant(Fault::ShortWrites { bytes: 7 });
    assert!(write(&journal, &mut producer, batch(1, 100)));
    drop((journal, producer));
    assert_eq!(reopened(&disk), expected(&[100]));
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for (fault, says) in [(Fault::DiskFull, "no storage space"), (Fault::FailedSync, "the sync failed")] {
        let disk = FaultyDisk::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        let on_failure = Box::new(move |reason: &str| tell.lock().unwrap().push(reason.to_owned()));
        let (journal, mut producers) =
            Journal::open(Arc::new(disk.clone()), &config(), 0, on_failure).unwrap();
        let producer = &mut producers[0];
        assert!(write(&journal, producer, batch(1, 10)));
        disk.plant(fault);
        let writes = disk.segment_writes();
        assert!(!write(&journal, producer, batch(2, 10)), "{fault:?}");
        // The fault is gone, and the journal must not use that.
        let Err(SubmitError::Failed(reason)) = producer.submit(batch(3, 10)) else { panic!("{fault:?}") };
        assert!(reason.contains(says), "{reason}");
        assert_eq!((producer.durable(), journal.durable_seq()), (1, 1), "{fault:?}");
        assert!(journal.join().is_err());
        assert_eq!(*told.lock().unwrap(), [reason]);
        assert_eq!(disk.segment_writes(), writes + 1, "{fault:?}: written again");
        // A failed sync leaves the frame in the page cache: after a restart it may count.
        assert_eq!(reopened(&disk)[0], expected(&[10])[0]);
    }
}

#[test]
fn a_frame_whose_sync_failed_is_written_again_before_it_counts() {
    let disk = FaultyDisk::default();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    disk.plant(Fault::FailedSync);
    assert!(!write(&journal, &mut producer, batch(1, 10)));
    let writes = disk.segment_writes();
    assert_eq!(reopened(&disk), expected(&[10]));
    assert_eq!(disk.segment_writes(), writes + 1);
}

#[test]
fn a_torn_last_frame_is_cut_wherever_it_tore() {
    let sizes = [100, 50, 300];
    let whole = written(&sizes);
    let start = SEGMENT_HEADER_BYTES + frame::frame_bytes(100) + frame::frame_bytes(50);
    let end = start + frame::frame_bytes(300);
    for torn_at in start..end {
        let disk = whole.copy();
        disk.edit(&segment_path(&dir(), 1), |bytes| bytes[torn_at..end].fill(0));
        let kept = if torn_at < start + FRAME_HEADER_BYTES + 300 { 2 } else { 3 };
        assert_eq!(reopened(&disk), expected(&sizes)[..kept], "torn at {torn_at}");
        let cut = if kept == 2 { start } else { end };
        disk.edit(&segment_path(&dir(), 1), |bytes| assert!(bytes[cut..].iter().all(|byte| *byte == 0)));
        let (journal, mut producer) = open(&disk, 0).unwrap();
        assert!(write(&journal, &mut producer, batch(9, 8)));
        assert_eq!(frames(&journal, kept as u64 + 1), [(kept as u64 + 1, vec![9; 8])]);
    }
}

#[test]
fn a_flipped_bit_before_good_frames_is_corruption() {
    let whole = written(&[100, 50, 300]);
    let start = (SEGMENT_HEADER_BYTES + frame::frame_bytes(100)) as u64;
    for at in start..start + FRAME_HEADER_BYTES as u64 + 50 {
        let disk = whole.copy();
        disk.edit(&segment_path(&dir(), 1), |bytes| bytes[at as usize] ^= 1 << (at % 8));
        assert_corrupt(&refusal(&disk, 0), 1, start, "frame 3 follows");
    }
}

#[test]
fn a_flipped_bit_at_the_end_of_an_earlier_segment_is_corruption() {
    let disk = written(&[3000, 3000]);
    let at = SEGMENT_HEADER_BYTES as u64;
    disk.edit(&segment_path(&dir(), 1), |bytes| bytes[500] ^= 1);
    assert_corrupt(&refusal(&disk, 0), 1, at, "segment 2 starts at frame 2");
}

#[test]
fn a_damaged_header_is_corruption() {
    for at in 0..SEGMENT_HEADER_BYTES {
        let disk = written(&[10]);
        disk.edit(&segment_path(&dir(), 1), |bytes| bytes[at] ^= 0x40);
        assert_corrupt(&refusal(&disk, 0), 1, 0, "");
    }
    let disk = written(&[10]);
    disk.edit(&segment_path(&dir(), 1), |bytes| bytes.truncate(63));
    assert_corrupt(&refusal(&disk, 0), 1, 0, "shorter");
}

#[test]
fn a_segment_that_is_gone_is_noticed() {
    let sizes = [3000; 4];
    let remove = |number| {
        let disk = written(&sizes);
        disk.remove(&segment_path(&dir(), number)).unwrap();
        disk
    };
    assert_corrupt(&refusal(&remove(1), 0), 2, 0, "starts at frame 2");
    assert!(open(&remove(1), 1).is_ok(), "frame 1 is in the database");
    let end = (SEGMENT_HEADER_BYTES + frame::frame_bytes(3000)) as u64;
    assert_corrupt(&refusal(&remove(2), 1), 1, end, "segment 3 starts at frame 3");
    let behind = refusal(&remove(4), 4);
    assert!(matches!(behind, JournalError::Behind { last_seq: 3, applied_seq: 4, .. }), "{behind}");
}

#[test]
fn a_journal_moved_away_starts_after_what_the_database_holds() {
    let (journal, mut producer) = open(&FaultyDisk::default(), 41).unwrap();
    assert!(write(&journal, &mut producer, batch(1, 3)));
    assert_eq!(frames(&journal, 42), [(42, vec![1; 3])]);
}

#[test]
fn another_schema_waits_until_all_is_applied() {
    let disk = written(&[10, 10]);
    let config = JournalConfig { schema: SCHEMA + 1, ..config() };
    let refused = open_with(&disk, &config, 1).map(drop).unwrap_err();
    assert!(matches!(refused, JournalError::SchemaChanged { unapplied: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("Start the previous version once"));
    let (journal, mut producer) = open_with(&disk, &config, 2).unwrap();
    assert!(write(&journal, &mut producer, batch(1, 4)));
    assert_eq!(frames(&journal, 3), [(3, vec![1; 4])]);
    drop((journal, producer));
    assert!(matches!(refusal(&disk, 2), JournalError::SchemaChanged { unapplied: 1, .. }));
}

#[test]
fn released_segments_are_recycled_and_their_frames_stay_gone() {
    let disk = FaultyDisk::default();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    let mut reader = journal.reader(1);
    for number in 1..=200 {
        // Uneven sizes, so that old frames do not line up with new ones.
        let bytes = 500 + (number as usize * 37) % 400;
        assert!(write(&journal, &mut producer, batch(number, bytes)));
        let frame = reader.next_frame().unwrap().expect("it is durable");
        assert_eq!((frame.seq, frame.payload), (number, &batch(number, bytes).bytes[..]));
        reader.release(number.saturating_sub(1));
        assert!(disk.names().len() <= 4, "{:?}", disk.names());
    }
    let mut late = journal.reader(3);
    assert!(matches!(late.next_frame(), Err(JournalError::Released { seq: 3, .. })));
    drop(producer);
    journal.join().unwrap();
    let writes = disk.segment_writes();
    let (journal, _producer) = open(&disk, 199).unwrap();
    assert_eq!(journal.durable_seq(), 200);
    assert_eq!(disk.segment_writes(), writes + 1, "what was there before recycling passes for a torn tail");
}

#[test]
fn a_journal_started_anew_does_not_find_frames_in_an_old_spare() {
    let disk = written(&[100, 100, 100]);
    disk.remove(&dir().join("spare")).unwrap_or_default();
    disk.rename(&segment_path(&dir(), 1), &dir().join("spare")).unwrap();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    assert!(write(&journal, &mut producer, batch(9, 100)));
    drop(producer);
    journal.join().unwrap();
    assert_eq!(reopened(&disk), [(1, vec![9; 100])]);
}

#[test]
fn damage_done_while_running_is_seen_by_the_reader() {
    let disk = FaultyDisk::default();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    assert!(write(&journal, &mut producer, batch(1, 100)));
    let mut reader = journal.reader(1);
    disk.edit(&segment_path(&dir(), 1), |bytes| bytes[SEGMENT_HEADER_BYTES + 20] ^= 1);
    assert_corrupt(&reader.next_frame().unwrap_err(), 1, SEGMENT_HEADER_BYTES as u64, "damaged now");
    disk.edit(&segment_path(&dir(), 1), |bytes| bytes[SEGMENT_HEADER_BYTES + 3] = 0x7f);
    assert_corrupt(&reader.next_frame().unwrap_err(), 1, SEGMENT_HEADER_BYTES as u64, "damaged now");
}

#[test]
fn a_frame_counts_only_in_the_segment_it_was_written_for() {
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    bytes.extend_from_slice(b"payload");
    frame::seal(&mut bytes, 7, 1);
    assert_eq!(bytes.len() % 8, 0);
    assert_eq!(frame::parse(&bytes, 7).unwrap().1, b"payload");
    assert_eq!(frame::parse(&bytes, 8), None);
}

#[test]
fn stray_files_are_left_alone() {
    let disk = written(&[10]);
    disk.create(Path::new("/journal/notes.txt")).unwrap();
    assert_eq!(reopened(&disk), expected(&[10]));
    assert!(disk.names().contains(&"notes.txt".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The one property that everything else serves: whenever the process is killed or the power
    /// goes, whatever sectors of the last write reached the disk, the journal opens, and holds all that was acknowledged, in
    /// order, and at most the one batch more that was on its way.
    #[test]
    fn kills_and_power_losses_lose_nothing_acknowledged(
        lives in prop::collection::vec((1_u64..120, 1_u64..40, any::<bool>()), 1..6),
        size_seed in 1_usize..1000,
        seed in any::<u64>(),
    ) {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = FaultyDisk::default();
        let (mut attempted, mut acknowledged, mut released) = (0, 0, 0);
        let payload = |seq: u64| {
            let bytes = 8 + (seq as usize * size_seed * 61) % 1800;
            seq.to_le_bytes().into_iter().cycle().take(bytes).collect::<Vec<_>>()
        };
        for (operations, release_every, is_power_loss) in lives {
            disk.stop_after(operations);
            if let Ok((journal, mut producer)) = open(&disk, released) {
                // Each frame is one batch: so the sequence to come is that after the last durable one.
                let first = journal.durable_seq() + 1;
                for number in 1.. {
                    let seq = first + number - 1;
                    attempted = seq;
                    if !write(&journal, &mut producer, Batch { number, bytes: payload(seq) }) {
                        break;
                    }
                    acknowledged = seq;
                    if seq % release_every == 0 {
                        released = seq;
                        journal.reader(seq).release(seq);
                    }
                }
                drop(producer);
                prop_assert!(journal.join().is_err());
            }
            if is_power_loss {
                disk.power_loss(&mut rng);
            } else {
                disk.kill();
            }
            let (journal, producer) = open(&disk, released).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let last = journal.durable_seq();
            prop_assert!((acknowledged..=attempted).contains(&last), "{acknowledged}..={attempted}: {last}");
            for (i, (seq, found)) in frames(&journal, released + 1).into_iter().enumerate() {
                prop_assert_eq!(seq, released + 1 + i as u64);
                prop_assert_eq!(found, payload(seq));
            }
            // What recovery showed is durable from now on.
            acknowledged = last;
            attempted = last;
            drop(producer);
            journal.join().unwrap();
        }
    }

    #[test]
    fn no_damage_makes_recovery_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        truncated in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let sizes = [100, 50, 300];
        let disk = written(&sizes);
        disk.edit(&segment_path(&dir(), 1), |bytes| {
            for (at, byte) in edits {
                let used = bytes.len().min(600);
                bytes[at.index(used)] = byte;
            }
            if let Some(at) = truncated {
                bytes.truncate(at.index(bytes.len()));
            }
        });
        match open(&disk, 0) {
            Ok((journal, producer)) => {
                drop(producer);
                let frames = frames(&journal, 1);
                prop_assert_eq!(&frames[..], &expected(&sizes)[..frames.len()]);
                prop_assert!(truncated.is_none(), "a file cut short is corruption");
            }
            Err(JournalError::Corrupt { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
