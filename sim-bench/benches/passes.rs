//! Each pass of the tick by size and shape, and each kind of question: `cargo bench -p sim-bench`, or with a filter
//! `-- uniform/regrid`.
//!
//! The whole tick runs each time; only the pass is counted. A million entities take a while and are measured
//! with `SIM_BENCH_MILLION=1`.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sim_bench::queries::{Questions, query_names};
use sim_bench::scenario::{Scenario, Shape, World};
use sim_bench::tick::{pass_names, timed_tick};
use vyuha_core::SimdLevel;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WARM_TICKS: usize = 10;

fn passes(criterion: &mut Criterion) {
    let mut sizes = vec![1_000, 10_000, 100_000];
    if std::env::var_os("SIM_BENCH_MILLION").is_some_and(|value| value == "1") {
        sizes.push(1_000_000);
    }
    let simd = SimdLevel::detect();
    for (shape, &entities) in Shape::ALL.iter().flat_map(|shape| sizes.iter().map(move |size| (shape, size)))
    {
        let scenario = Scenario { entities, neighbours: 40, shape: *shape, seed: 1, simd };
        let mut world = World::new(&scenario).expect("the scenario can be built");
        for _ in 0..WARM_TICKS {
            timed_tick(&mut world);
        }
        let names = pass_names().map(Some).chain([None]);
        for (at, name) in names.enumerate() {
            let mut group =
                criterion.benchmark_group(format!("{}/{}", shape.name(), name.unwrap_or("whole")));
            group.throughput(Throughput::Elements(entities.into()));
            group.bench_function(BenchmarkId::from_parameter(entities), |bencher| {
                bencher.iter_custom(|ticks| {
                    let times = (0..ticks).map(|_| timed_tick(&mut world));
                    times.map(|times| if name.is_some() { times[at] } else { times.iter().sum() }).sum()
                });
            });
            group.finish();
        }
    }
}

fn queries(criterion: &mut Criterion) {
    let simd = SimdLevel::detect();
    for entities in [10_000, 100_000] {
        let scenario = Scenario { entities, neighbours: 40, shape: Shape::Uniform, seed: 1, simd };
        let mut questions = Questions::new(&scenario).expect("the scenario can be built");
        for (kind, name) in query_names().enumerate() {
            let mut group = criterion.benchmark_group(format!("query/{name}"));
            group.throughput(Throughput::Elements(questions.count(kind) as u64));
            group.bench_function(BenchmarkId::from_parameter(entities), |bencher| {
                bencher.iter_custom(|rounds| {
                    (0..rounds)
                        .map(|_| questions.ask(kind).map(|(asked, _)| asked.took).sum::<Duration>())
                        .sum()
                });
            });
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = passes, queries
}
criterion_main!(benches);
