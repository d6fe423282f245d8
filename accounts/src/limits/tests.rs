//! Which limits hold for what, what is told of them, and that nodes that settle let no more through than is said.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use proptest::prelude::*;
use vyuha_hot::{BucketRule, HotStore as _, Lifetimes, MemoryHot};

use super::*;

const SITE: &str = "192.0.2.7";

fn limit(name: &str, by: By, operations: &[&str], calls: u32) -> LimitConfig {
    let operations = operations.iter().map(|operation| (*operation).to_owned()).collect();
    LimitConfig { name: name.into(), by, operations, calls, window_s: 60 }
}

fn limits(configs: &[LimitConfig]) -> Limits {
    Limits::new(configs, false).unwrap()
}

/// A call at a time: `RateLimit`, and how many seconds to wait if it is refused.
fn call(limits: &Limits, now_ms: i64, path: &str, subject: &Subject) -> (String, Option<u64>) {
    let judged = limits.judge(now_ms, &Method::GET, Some(path), subject, SITE);
    (judged.left.to_str().unwrap().to_owned(), judged.wait.map(|wait| wait.as_millis() as u64))
}

#[test]
fn a_window_of_calls_may_be_made_at_once_and_comes_again_evenly() {
    let limits = limits(&[limit("calls", By::Caller, &[], 6)]);
    let me = |now_ms| call(&limits, now_ms, "/api/v1/me", &Subject::Account(7));
    let told = |left: &str, wait_ms| (left.to_owned(), wait_ms);
    assert_eq!(me(0), told("\"calls\";r=5;t=10", None));
    for _ in 0..4 {
        assert_eq!(me(0).1, None);
    }
    assert_eq!(me(0), told("\"calls\";r=0;t=60", None));
    assert_eq!(me(0), told("\"calls\";r=0;t=60", Some(10_000)));
    assert_eq!(me(9_999), told("\"calls\";r=0;t=60", Some(1)));
    assert_eq!(me(10_000), told("\"calls\";r=0;t=60", None));
    assert_eq!(me(60_000 + 10_000), told("\"calls\";r=5;t=10", None));
    // A clock that is set back gives nothing and takes nothing.
    assert_eq!(me(0), told("\"calls\";r=4;t=20", None));
    let others = [Subject::Account(8), Subject::Key("7".into()), Subject::Nobody];
    for other in others {
        assert_eq!(call(&limits, 0, "/api/v1/me", &other), told("\"calls\";r=5;t=10", None));
    }
}

#[test]
fn limits_of_an_operation_hold_in_place_of_those_of_all() {
    let limits = limits(&[
        limit("calls", By::Caller, &[], 100),
        limit("address", By::Address, &[], 1_000),
        limit("tickets", By::Caller, &["issue_ticket"], 10),
        limit("way-in", By::Address, &["sign_in", "register"], 20),
        limit("sign-in", By::Address, &["sign_in"], 5),
    ]);
    let check = |method: Method, path: Option<&str>, expected: &str| {
        let judged = limits.judge(0, &method, path, &Subject::Account(1), SITE);
        assert_eq!(judged.policy, expected, "{method} {path:?}");
    };
    check(Method::GET, Some("/api/v1/me"), "\"calls\";q=100;w=60, \"address\";q=1000;w=60");
    check(Method::HEAD, Some("/api/v1/me"), "\"calls\";q=100;w=60, \"address\";q=1000;w=60");
    check(Method::POST, Some("/api/v1/tickets"), "\"address\";q=1000;w=60, \"tickets\";q=10;w=60");
    check(Method::PATCH, Some("/api/v1/tickets"), "\"calls\";q=100;w=60, \"address\";q=1000;w=60");
    check(
        Method::POST,
        Some("/api/v1/sessions"),
        "\"calls\";q=100;w=60, \"way-in\";q=20;w=60, \"sign-in\";q=5;w=60",
    );
    check(Method::POST, Some("/api/v1/registrations"), "\"calls\";q=100;w=60, \"way-in\";q=20;w=60");
    check(Method::GET, None, "\"calls\";q=100;w=60, \"address\";q=1000;w=60");
}

#[test]
fn what_is_refused_takes_nothing_from_any_limit() {
    let limits = limits(&[limit("calls", By::Caller, &[], 2), limit("address", By::Address, &[], 3)]);
    let me = |account| call(&limits, 0, "/api/v1/me", &Subject::Account(account));
    assert_eq!(me(1).1, None);
    assert_eq!(me(1), ("\"calls\";r=0;t=60, \"address\";r=1;t=40".into(), None));
    assert_eq!(me(1), ("\"calls\";r=0;t=60, \"address\";r=1;t=40".into(), Some(30_000)));
    assert_eq!(me(2), ("\"calls\";r=1;t=30, \"address\";r=0;t=60".into(), None));
    assert_eq!(me(3), ("\"calls\";r=2;t=0, \"address\";r=0;t=60".into(), Some(20_000)));
}

#[test]
fn limits_that_cannot_be_are_refused() {
    let check = |configs: &[LimitConfig], expected: LimitsError| {
        assert_eq!(Limits::new(configs, false).unwrap_err(), expected);
    };
    let plain = |name: &str| limit(name, By::Caller, &[], 1);
    for name in ["", "Calls", "a b", "a\"", "a:b", &"x".repeat(33)] {
        check(&[plain(name)], LimitsError::Name(name.into()));
    }
    check(&[plain("a"), plain("b"), plain("a")], LimitsError::Twice("a".into()));
    for (calls, window_s) in [(0, 60), (1_000_001, 60), (1, 0), (1, 86_401)] {
        check(&[LimitConfig { calls, window_s, ..plain("a") }], LimitsError::Range("a".into()));
    }
    let (name, operation) = ("a".to_owned(), "sing_in".to_owned());
    check(
        &[limit("a", By::Caller, &["sign_in", "sing_in"], 1)],
        LimitsError::Operation { limit: name, operation },
    );
    let many: Vec<LimitConfig> = (0..65).map(|index| plain(&format!("l{index}"))).collect();
    check(&many, LimitsError::Many(65));
    assert!(Limits::new(&many[..64], false).is_ok());
}

#[test]
fn what_is_given_back_before_it_was_told_is_never_told() {
    let rule = BucketRule { capacity: 2, fills_in: Duration::from_mins(1) };
    let (buckets, wanted) = (Buckets::new(true), [("a".to_owned(), rule)]);
    buckets.take(0, &wanted).unwrap();
    buckets.give_back(&wanted);
    assert_eq!(buckets.untold(9), []);
    buckets.take(0, &wanted).unwrap();
    let spent = |tokens| Spent { bucket: "a".into(), rule, tokens };
    assert_eq!(buckets.untold(9), [spent(1)]);
    buckets.give_back(&wanted);
    assert_eq!(buckets.untold(9), [spent(-1)]);
    // It is full, and holds no more than that.
    buckets.give_back(&wanted);
    assert!(buckets.take(0, &wanted).is_ok() && buckets.take(0, &wanted).is_ok());
    assert!(buckets.take(0, &wanted).is_err());
}

/// Nodes of one game and the store where they meet, on a clock that stands until it is moved.
struct Game {
    nodes: Vec<Buckets>,
    store: Arc<MemoryHot>,
    rule: BucketRule,
    now_ms: i64,
    /// Since the nodes settled.
    since_ms: u64,
}

impl Game {
    fn new(nodes: usize, rule: BucketRule) -> Game {
        let store = Arc::new(MemoryHot::new(Lifetimes::default()));
        Game { nodes: (0..nodes).map(|_| Buckets::new(true)).collect(), store, rule, now_ms: 0, since_ms: 0 }
    }

    /// Lets time pass, in which the nodes settle at their pace.
    async fn pass_settling(&mut self, mut ms: u64, delay_ms: u64) {
        while self.since_ms + ms >= delay_ms {
            let part_ms = delay_ms - self.since_ms;
            self.pass(part_ms).await;
            self.settle().await;
            (ms, self.since_ms) = (ms - part_ms, 0);
        }
        self.pass(ms).await;
        self.since_ms += ms;
    }

    async fn pass(&mut self, ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
        self.now_ms += ms as i64;
    }

    fn call(&self, node: usize) -> bool {
        self.nodes[node].take(self.now_ms, &[("b".to_owned(), self.rule)]).is_ok()
    }

    async fn settle(&self) {
        for node in &self.nodes {
            for spent in node.untold(9) {
                let left = self.store.settle(&spent.bucket, spent.rule, spent.tokens).await.unwrap();
                node.settled(self.now_ms, &spent, left);
            }
        }
    }
}

fn on_a_standing_clock<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

#[test]
fn who_is_refused_on_one_node_is_soon_refused_on_the_other() {
    on_a_standing_clock(async {
        let rule = BucketRule { capacity: 10, fills_in: Duration::from_mins(1) };
        let mut game = Game::new(2, rule);
        for _ in 0..10 {
            assert!(game.call(0));
        }
        assert!(!game.call(0));
        game.settle().await;
        // The other node learns of it with the first call that it tells of.
        assert!(game.call(1));
        game.settle().await;
        assert!(!game.call(1) && !game.call(0));
        // The debt is paid before anything else: one call came too many.
        game.pass(11_000).await;
        assert!(!game.call(1));
        game.pass(1_000).await;
        assert!(game.call(1) && !game.call(1));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// One caller tries at several nodes as often as it likes. `delay_ms` is what lies between two settlements; a node hears of
    /// another's spending within two of them.
    #[test]
    fn nodes_together_let_no_more_through_than_is_said(
        nodes in 1usize..4,
        capacity in 1u32..30,
        delay_ms in 1u64..2_000,
        steps in prop::collection::vec((0u64..3_000, 0usize..4, 0usize..40), 1..80),
    ) {
        on_a_standing_clock(async {
            let rule = BucketRule { capacity, fills_in: Duration::from_secs(20) };
            let mut game = Game::new(nodes, rule);
            let mut let_through = Vec::<i64>::new();
            for (wait_ms, node, calls) in steps {
                game.pass_settling(wait_ms, delay_ms).await;
                for _ in 0..calls {
                    if game.call(node % nodes) {
                        let_through.push(game.now_ms);
                    }
                }
            }
            let (nodes, capacity) = (nodes as f64, f64::from(capacity));
            let per_ms = capacity / 20_000.0;
            // The bound of docs/limits.md, between any two calls that were let through.
            for (first, from_ms) in let_through.iter().enumerate() {
                for (last, to_ms) in let_through.iter().enumerate().skip(first) {
                    let (count, time_ms) = ((last - first + 1) as f64, (to_ms - from_ms) as f64);
                    let behind = if nodes > 1.0 { nodes * per_ms * 2.0 * delay_ms as f64 } else { 0.0 };
                    let bound = nodes * capacity + behind + per_ms * time_ms * (nodes / 2.0).max(1.0);
                    prop_assert!(count <= bound + nodes, "{} of {} in {} ms", count, bound, time_ms);
                }
            }
            Ok(())
        })?;
    }

    /// Whoever stays at one node notices little of the settling: it is let through no more often than one bucket lets it, and
    /// refused no sooner than by what comes in between two settlements.
    #[test]
    fn settling_takes_next_to_nothing_from_who_stays_at_one_node(
        capacity in 1u32..30,
        delay_ms in 1u64..2_000,
        steps in prop::collection::vec((0u64..3_000, 0usize..6), 1..80),
    ) {
        on_a_standing_clock(async {
            let rule = BucketRule { capacity, fills_in: Duration::from_secs(20) };
            let (mut game, alone, wanted) = (Game::new(2, rule), Buckets::new(false), [("b".to_owned(), rule)]);
            let between = f64::from(capacity) / 20_000.0 * delay_ms as f64;
            for (wait_ms, calls) in steps {
                game.pass_settling(wait_ms, delay_ms).await;
                for _ in 0..calls {
                    let (is_let_through, by_itself) = (game.call(0), alone.take(game.now_ms, &wanted));
                    if is_let_through {
                        prop_assert!(by_itself.is_ok());
                    } else if let Ok(left) = by_itself {
                        prop_assert!(left[0].tokens as f64 <= between, "{:?} is left", left);
                        alone.give_back(&wanted);
                    }
                }
            }
            Ok(())
        })?;
    }
}
