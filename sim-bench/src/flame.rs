//! Where the tick's time goes, as a flamegraph: a timer of the process's own samples its stack, so neither root
//! nor a kernel setting is needed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::progress::Progress;
use crate::scenario::{Scenario, ScenarioError, World};

/// Prime, so that samples do not fall into step with ticks.
const SAMPLES_PER_S: i32 = 997;
const WIDTH_PX: f64 = 1200.0;
const MARGIN_PX: f64 = 10.0;
const ROW_PX: f64 = 17.0;
const HEAD_PX: f64 = 40.0;
/// About as wide as a character of the font is.
const CHARACTER_PX: f64 = 6.6;
/// A narrower frame is left out, with what stands on it.
const FRAME_PX_MIN: f64 = 0.3;

/// Why there is no flamegraph.
#[derive(Debug, Error)]
pub enum FlameError {
    /// The scenario cannot be built.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The sampler failed.
    #[error("the stack cannot be sampled: {0}")]
    Sampler(#[from] pprof::Error),
    /// Nothing was sampled.
    #[error("no sample fell into a tick; measure for more seconds")]
    NoSamples,
}

/// Runs a scenario's ticks for some time and draws where it went: an SVG.
pub fn tick(scenario: &Scenario, duration: Duration) -> Result<String, FlameError> {
    let mut world = World::new(scenario)?;
    let guard = pprof::ProfilerGuardBuilder::default().frequency(SAMPLES_PER_S).build()?;
    let begin = Instant::now();
    let mut progress = Progress::new("sampling, second", duration.as_secs() as usize);
    let mut ticks = 0;
    while begin.elapsed() < duration {
        world.decide();
        sampled_tick(&mut world);
        ticks += 1;
        progress.at(begin.elapsed().as_secs() as usize);
    }
    let mut root = Node::default();
    for (frames, &count) in &guard.report().build()?.data {
        // The innermost first, and of each address the inlined functions first.
        let names: Vec<String> = frames.frames.iter().flatten().map(pprof::Symbol::name).collect();
        let is_root = |name: &String| name.contains("sampled_tick");
        // What was decided between ticks, and what calls them, is not asked for.
        if let Some(depth) = names.iter().position(is_root) {
            root.add(names[..depth].iter().rev().map(String::as_str), count as u64);
        }
    }
    if root.samples == 0 {
        return Err(FlameError::NoSamples);
    }
    let Scenario { entities, neighbours, shape, .. } = scenario;
    let shape = shape.name();
    let title = format!(
        "Tick of {entities} entities, {shape}, {neighbours} neighbours: {} samples in {ticks} ticks",
        root.samples
    );
    Ok(draw(&title, &root))
}

/// The tick under a name that the samples can be told by.
#[inline(never)]
fn sampled_tick(world: &mut World) {
    world.order();
    world.zone.step(&mut ());
    // Something after the call, so that this frame stays on the stack during it.
    black_box(world.zone.state_hash());
}

/// A function as called by those below it.
#[derive(Default)]
struct Node {
    samples: u64,
    children: BTreeMap<String, Node>,
}

impl Node {
    /// Adds a stack, outermost first.
    fn add<'a>(&mut self, stack: impl Iterator<Item = &'a str>, samples: u64) {
        self.samples += samples;
        let mut node = self;
        for name in stack {
            node = node.children.entry(name.to_owned()).or_default();
            node.samples += samples;
        }
    }

    fn depth(&self) -> usize {
        self.children.values().map(|child| 1 + child.depth()).max().unwrap_or(0)
    }
}

fn draw(title: &str, root: &Node) -> String {
    let rows = root.depth() + 1;
    let height = HEAD_PX + rows as f64 * ROW_PX + MARGIN_PX;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH_PX}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH_PX} {height}\" font-family=\"monospace\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fdfaf3\"/>\n\
         <text x=\"{MARGIN_PX}\" y=\"24\" font-size=\"14\">{}</text>\n",
        escape(title)
    );
    let bottom = HEAD_PX + (rows - 1) as f64 * ROW_PX;
    let px_per_sample = (WIDTH_PX - 2.0 * MARGIN_PX) / root.samples as f64;
    let mut frames = vec![("tick", root, MARGIN_PX, bottom)];
    while let Some((name, node, x, y)) = frames.pop() {
        let width = node.samples as f64 * px_per_sample;
        if width < FRAME_PX_MIN {
            continue;
        }
        frame(&mut svg, name, [x, y, width], node.samples, root.samples);
        let mut child_x = x;
        for (name, child) in &node.children {
            frames.push((name, child, child_x, y - ROW_PX));
            child_x += child.samples as f64 * px_per_sample;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn frame(svg: &mut String, name: &str, [x, y, width]: [f64; 3], samples: u64, of: u64) {
    let percent = 100.0 * samples as f64 / of as f64;
    let fill = if name.contains("vyuha") { "#f4a259" } else { "#d9c9a3" };
    let height = ROW_PX - 1.0;
    let tip = escape(name);
    write!(
        svg,
        "<g><title>{tip}: {samples} samples, {percent:.1}%</title>\
         <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\" fill=\"{fill}\"/>"
    )
    .expect("writing to a string");
    let fits = ((width - 6.0) / CHARACTER_PX) as usize;
    if fits >= 3 {
        let (text_x, text_y) = (x + 3.0, y + 12.0);
        let label = escape(&shorten(name, fits));
        write!(svg, "<text x=\"{text_x:.1}\" y=\"{text_y:.1}\">{label}</text>").expect("writing to a string");
    }
    svg.push_str("</g>\n");
}

/// A name within so many characters: its end says most.
fn shorten(name: &str, characters: usize) -> String {
    let count = name.chars().count();
    if count <= characters {
        return name.to_owned();
    }
    let kept: String = name.chars().skip(count - (characters - 1)).collect();
    format!("…{kept}")
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Node {
        let mut root = Node::default();
        root.add(["vyuha_core::step", "Vec<u32>::push"].into_iter(), 3);
        root.add(["vyuha_core::step", "hash"].into_iter(), 1);
        root.add(["memcpy"].into_iter(), 4);
        root
    }

    #[test]
    fn stacks_are_merged_from_the_outside_in() {
        let root = sample();
        assert_eq!((root.samples, root.depth()), (8, 2));
        let step = &root.children["vyuha_core::step"];
        assert_eq!((step.samples, step.children["hash"].samples), (4, 1));
    }

    #[test]
    fn each_frame_is_as_wide_as_its_share() {
        let svg = draw("a < b", &sample());
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("<title>Vec&lt;u32&gt;::push: 3 samples, 37.5%</title>"));
        let rect =
            |x: f64, y: f64, width: f64| format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\"");
        // Root below, 1,180 pixels for 8 samples; memcpy sorts before vyuha_core.
        assert!(svg.contains(&rect(10.0, 74.0, 1180.0)), "{svg}");
        assert!(svg.contains(&rect(10.0, 57.0, 590.0)) && svg.contains(&rect(600.0, 57.0, 590.0)));
        assert!(svg.contains(&rect(600.0, 40.0, 442.5)));
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(
            (shorten("integrate", 9), shorten("core::integrate", 10)),
            ("integrate".into(), "…integrate".into())
        );
    }
}
