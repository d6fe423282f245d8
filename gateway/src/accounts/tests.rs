use super::*;
use proptest::prelude::*;
use std::time::Duration;

const CHEAP: HashCost = HashCost { memory_kib: 64, passes: 1, lanes: 1 };

fn accounts(cost: HashCost, waiting_max: usize) -> Accounts {
    Accounts::start(AccountsConfig { cost, threads: 1, waiting_max }).unwrap()
}

#[test]
fn account_names() {
    #[track_caller]
    fn check(typed: &str, expected: Result<&str, NameError>) {
        let parsed = AccountName::parse(typed);
        assert_eq!(parsed.as_ref().map(AccountName::as_str).map_err(|&error| error), expected, "{typed:?}");
    }
    let longest = "a".repeat(32);
    check("abc", Ok("abc"));
    check("Ravi.K_9-x", Ok("ravi.k_9-x"));
    check(&longest, Ok(&longest));
    check("", Err(NameError::Length(0)));
    check("ab", Err(NameError::Length(2)));
    check(&"a".repeat(33), Err(NameError::Length(33)));
    check("a b", Err(NameError::Character(' ')));
    check("abc\0", Err(NameError::Character('\0')));
    check("née", Err(NameError::Character('é')));
    check("ÉÉÉ", Err(NameError::Character('É')));
    check("\u{212a}elvin", Err(NameError::Character('\u{212a}')));
    check("a'; --", Err(NameError::Character('\'')));
}

#[test]
fn passwords() {
    #[track_caller]
    fn check(password: &str, expected: Result<(), PasswordError>) {
        assert_eq!(check_password(password), expected, "{password:?}");
    }
    check("1234567", Err(PasswordError::Length(7)));
    check("12345678", Ok(()));
    check("пара", Ok(()));
    check("        ", Ok(()));
    check(&"x".repeat(128), Ok(()));
    check(&"x".repeat(129), Err(PasswordError::Length(129)));
}

proptest! {
    #[test]
    fn an_accepted_name_is_its_own_canonical_form(typed in "[a-zA-Z0-9_.é -]{0,40}") {
        if let Ok(name) = AccountName::parse(&typed) {
            prop_assert_eq!(AccountName::parse(name.as_str()), Ok(name.clone()));
            prop_assert!(name.as_str().eq_ignore_ascii_case(&typed));
        }
    }

    #[test]
    fn any_text_is_judged_without_panic(typed: String) {
        prop_assert_eq!(AccountName::parse(&typed).is_ok(), {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            typed.chars().all(allowed) && (3..=32).contains(&typed.len())
        });
    }

    #[test]
    fn no_stored_text_panics_the_hasher(phc in "(\\$argon2id(\\$v=[0-9]{1,3})?)?[$a-zA-Z0-9=,+/]{0,60}") {
        let mut hasher = hasher::Hasher::new(CHEAP).unwrap();
        prop_assert!(!matches!(hasher.verify("password", Some(&phc)), Ok(true)));
    }
}

#[tokio::test]
async fn a_hash_verifies_its_own_password_only() {
    let accounts = accounts(CHEAP, 8);
    let phc = accounts.hash("correct horse").await.unwrap();
    assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{phc}");
    assert!(accounts.verify("correct horse", Some(&phc)).await.unwrap());
    assert!(!accounts.verify("correct horsf", Some(&phc)).await.unwrap());
    assert!(!accounts.verify("", Some(&phc)).await.unwrap());
    assert!(!accounts.verify("correct horse", None).await.unwrap(), "an unknown account");
    assert!(!accounts.verify("", Some("")).await.unwrap(), "an account without a password");
    assert!(!accounts.verify("correct horse", Some("")).await.unwrap());
    assert_ne!(phc, accounts.hash("correct horse").await.unwrap(), "each hash has its own salt");
}

#[tokio::test]
async fn a_hash_made_elsewhere_at_another_cost_verifies() {
    // From the reference implementation's test.c.
    let phc = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    assert!(accounts(CHEAP, 8).verify("password", Some(phc)).await.unwrap());
}

#[tokio::test]
async fn an_unusable_stored_hash_is_an_error_and_not_a_refusal() {
    let accounts = accounts(CHEAP, 8);
    let salt_and_hash = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    for phc in [
        "plain".into(),
        "$argon2id$v=19$m=256,t=2,p=1".into(),
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ".into(),
        format!("$argon2i$v=19$m=256,t=2,p=1${salt_and_hash}"),
        format!("$argon2id$v=16$m=256,t=2,p=1${salt_and_hash}"),
        format!("$argon2id$v=19$m=4294967295,t=2,p=1${salt_and_hash}"),
        format!("$argon2id$v=19$m=256,t=4294967295,p=1${salt_and_hash}"),
        format!("$argon2id$v=19$m=256,t=2,p=0${salt_and_hash}"),
    ] {
        let answer = accounts.verify("password", Some(&phc)).await;
        assert!(matches!(answer, Err(AccountsError::StoredHash(_))), "{phc}: {answer:?}");
    }
}

#[tokio::test]
async fn passwords_out_of_range_are_refused_before_they_cost_anything() {
    let accounts = accounts(CHEAP, 8);
    assert!(matches!(accounts.hash("short").await, Err(AccountsError::Password(PasswordError::Length(5)))));
    let long = "x".repeat(129);
    assert!(matches!(accounts.verify(&long, None).await, Err(AccountsError::Password(_))));
}

#[tokio::test]
async fn a_login_storm_past_the_queue_is_told_busy_and_those_before_it_are_served() {
    // Slow enough that nothing finishes while the storm is let in: about 30 ms even when optimised.
    let accounts = accounts(HashCost { memory_kib: 8 << 10, passes: 4, lanes: 1 }, 2);
    let storm: Vec<_> = (0..20)
        .map(|_| {
            let accounts = accounts.clone();
            tokio::spawn(async move { accounts.hash("correct horse").await })
        })
        .collect();
    let mut busy = 0;
    for login in storm {
        match login.await.unwrap() {
            Ok(_) => {}
            Err(AccountsError::Busy) => busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    // Two wait and one may have been taken up meanwhile.
    assert!((17..=18).contains(&busy), "{busy}");
    assert!(accounts.hash("correct horse").await.is_ok(), "served again once the storm is over");
}

#[tokio::test]
async fn whoever_gave_up_waiting_costs_no_hash() {
    let accounts = accounts(HashCost { memory_kib: 8 << 10, passes: 4, lanes: 1 }, 64);
    let started = std::time::Instant::now();
    accounts.hash("correct horse").await.unwrap();
    let one = started.elapsed();
    for _ in 0..50 {
        let waiting = accounts.hash("correct horse");
        assert!(tokio::time::timeout(Duration::ZERO, waiting).await.is_err());
    }
    let started = std::time::Instant::now();
    accounts.hash("correct horse").await.unwrap();
    assert!(started.elapsed() < one * 25, "those who left were hashed all the same");
}

#[test]
fn settings_out_of_range_are_refused() {
    let config = |cost, threads, waiting_max| AccountsConfig { cost, threads, waiting_max };
    let cost = |memory_kib, passes, lanes| HashCost { memory_kib, passes, lanes };
    for bad in [
        config(CHEAP, 0, 1),
        config(CHEAP, 1, 0),
        config(cost(7, 1, 1), 1, 1),
        config(cost(u32::MAX, 1, 1), 1, 1),
        config(cost(64, 0, 1), 1, 1),
        config(cost(64, 1, 0), 1, 1),
        config(cost(64, 17, 1), 1, 1),
        config(cost(8, 1, 2), 1, 1),
    ] {
        assert!(matches!(Accounts::start(bad), Err(AccountsError::Config(_))), "{bad:?}");
    }
    assert_eq!(HashCost::default(), cost(19456, 2, 1));
}

#[tokio::test]
async fn a_hash_of_another_cost_is_outdated() {
    let dear = HashCost { memory_kib: 128, ..CHEAP };
    let phc = accounts(CHEAP, 1).hash("a password").await.unwrap();
    assert!(!accounts(CHEAP, 1).is_outdated(&phc));
    assert!(accounts(dear, 1).is_outdated(&phc));
    assert!(accounts(CHEAP, 1).is_outdated("not a hash"));
}
