//! What an operator is told: the bound, how far a reader is behind, and what an inspection finds.

use super::*;

#[test]
fn a_journal_over_its_bound_says_so_until_segments_are_released() {
    let disk = FaultyDisk::default();
    let config = JournalConfig { bytes_max: 3 * SEGMENT_BYTES, ..config() };
    let (journal, mut producer) = open_with(&disk, &config, 0).unwrap();
    let reader = journal.reader(1);
    // Each fills most of a segment.
    for number in 1..=3 {
        assert!(write(&journal, &mut producer, batch(number, 3000)));
        assert!(!producer.is_over_bound() && !journal.stats().is_over_bound, "{number} segments");
    }
    assert!(write(&journal, &mut producer, batch(4, 3000)), "it is taken all the same");
    assert!(producer.is_over_bound() && journal.stats().is_over_bound);
    reader.release(1);
    assert!(write(&journal, &mut producer, batch(5, 10)));
    assert!(!producer.is_over_bound(), "one was recycled");
    drop(producer);
    journal.join().unwrap();
    let (_journal, producer) =
        open_with(&disk, &JournalConfig { bytes_max: SEGMENT_BYTES, ..config }, 1).unwrap();
    assert!(producer.is_over_bound(), "what it finds counts");
}

#[test]
fn a_reader_knows_how_far_it_is_behind() {
    let disk = FaultyDisk::default();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    let mut reader = journal.reader(1);
    for number in 1..=4 {
        assert!(write(&journal, &mut producer, batch(number, 3000)));
    }
    let mut behind: Vec<u64> = Vec::new();
    while reader.next_frame().unwrap().is_some() {
        let place = reader.place_of(behind.len() as u64 + 2);
        behind.push(journal.shared.durable_place() - place);
    }
    assert_eq!(behind, [3 * SEGMENT_BYTES, 2 * SEGMENT_BYTES, SEGMENT_BYTES, 0]);
}

/// A transaction of one put into table 5.
fn put(number: u64, bytes: usize) -> Batch {
    let mut transaction = ((7 + bytes) as u32).to_le_bytes().to_vec();
    transaction.extend_from_slice(&[1, 5, 0]);
    transaction.extend_from_slice(&(bytes as u32).to_le_bytes());
    transaction.extend(std::iter::repeat_n(number as u8, bytes));
    Batch { number, bytes: transaction }
}

#[test]
fn an_inspection_counts_what_is_good_and_names_what_is_not() {
    let disk = FaultyDisk::default();
    let (journal, mut producer) = open(&disk, 0).unwrap();
    for number in 1..=4 {
        assert!(write(&journal, &mut producer, put(number, 1500)));
    }
    drop(producer);
    journal.join().unwrap();
    let sound = inspect(&disk, &dir()).unwrap();
    assert_eq!((sound.frames(), sound.faults.clone(), sound.torn_bytes), (Some((1, 4)), vec![], 0));
    assert_eq!(sound.tables, [(5, TableReport { puts: 4, deletes: 0, bytes: 6000 })].into());
    let [first, second] = &sound.segments[..] else { panic!("{sound:?}") };
    assert_eq!((first.first_seq, first.last_seq, first.transactions), (1, 2, 2));
    assert_eq!((second.first_seq, second.last_seq, second.schema), (3, 4, SCHEMA));

    // The last frame of all is what a stop may leave.
    let path = segment_path(&dir(), second.number);
    let at = second.used_bytes - 100;
    disk.open(&path).unwrap().write_all_at(&[0xee], at).unwrap();
    let torn = inspect(&disk, &dir()).unwrap();
    assert_eq!((torn.frames(), torn.faults.clone()), (Some((1, 3)), vec![]));
    assert!(torn.torn_bytes > 1000, "{torn:?}");

    // One before good ones is not.
    disk.open(&path).unwrap().write_all_at(&[2], at).unwrap();
    let path = segment_path(&dir(), first.number);
    disk.open(&path).unwrap().write_all_at(&[0xee], 200).unwrap();
    let damaged = inspect(&disk, &dir()).unwrap();
    assert!(damaged.faults.iter().any(|fault| fault.contains("corrupt")), "{damaged:?}");
    assert_eq!(damaged.segments[1].last_seq, 3, "what can be read is still counted: {damaged:?}");
}
