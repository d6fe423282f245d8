//! Cost by size, drawn: nanoseconds an entity over the number of entities, a line a shape.

use std::fmt::Write as _;

use crate::flame::escape;
use crate::scenario::Shape;

/// The sizes that a chart shows.
pub const ENTITIES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

const WIDTH_PX: f64 = 760.0;
const HEIGHT_PX: f64 = 400.0;
const LEFT_PX: f64 = 60.0;
const RIGHT_PX: f64 = 110.0;
const TOP_PX: f64 = 50.0;
const BOTTOM_PX: f64 = 55.0;
/// A shape's costs: number of entities and nanoseconds an entity, ascending.
pub type Line = (Shape, Vec<(u32, f64)>);

/// Draws the lines: an SVG with a background of its own, to be read on any page. Both axes are logarithmic, because a
/// crowd costs twenty times what others do. `conditions` say where and when it was measured.
pub fn draw(lines: &[Line], conditions: &str) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let entities_max = points().map(|point| point.0).max().unwrap_or(10).max(10);
    let entities_min = points().map(|point| point.0).min().unwrap_or(1).max(1);
    let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let marks = round_marks(least, points().map(|point| point.1).fold(0.0, f64::max));
    let (bottom, top) = (marks[0].log10(), marks[marks.len() - 1].log10());
    let (inner_width, inner_height) = (WIDTH_PX - LEFT_PX - RIGHT_PX, HEIGHT_PX - TOP_PX - BOTTOM_PX);
    let decades = (f64::from(entities_max) / f64::from(entities_min)).log10().max(1.0);
    let x = |entities: u32| {
        LEFT_PX + inner_width * (f64::from(entities) / f64::from(entities_min)).log10() / decades
    };
    let y = |ns: f64| TOP_PX + inner_height * (top - ns.log10()) / (top - bottom);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH_PX}\" height=\"{HEIGHT_PX}\" \
         viewBox=\"0 0 {WIDTH_PX} {HEIGHT_PX}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT_PX}\" y=\"24\" font-size=\"16\">Zone tick: ns an entity</text>\n\
         <text x=\"{LEFT_PX}\" y=\"{}\" font-size=\"11\" fill=\"#666\">{}</text>\n",
        HEIGHT_PX - 10.0,
        escape(conditions)
    );
    let mut put = |text: std::fmt::Arguments<'_>| svg.write_fmt(text).expect("writing to a string");
    for ns in marks {
        let (y, right) = (y(ns), WIDTH_PX - RIGHT_PX);
        put(format_args!(
            "<line x1=\"{LEFT_PX}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ns}</text>\n",
            LEFT_PX - 8.0,
            y + 4.0
        ));
    }
    let mut entities: Vec<u32> = points().map(|point| point.0).collect();
    entities.sort_unstable();
    entities.dedup();
    for entities in entities {
        let below = HEIGHT_PX - BOTTOM_PX + 18.0;
        let label = grouped(entities);
        put(format_args!(
            "<text x=\"{:.1}\" y=\"{below}\" text-anchor=\"middle\">{label}</text>\n",
            x(entities)
        ));
    }
    for ((shape, points), colour) in lines.iter().zip(["#1668b8", "#c2410c", "#3f7d20"].iter().cycle()) {
        let path: Vec<String> =
            points.iter().map(|&(entities, ns)| format!("{:.1},{:.1}", x(entities), y(ns))).collect();
        put(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            path.join(" ")
        ));
        for &(entities, ns) in points {
            put(format_args!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"><title>{}, {} entities: {ns:.2} ns an \
                 entity</title></circle>\n",
                x(entities),
                y(ns),
                shape.name(),
                grouped(entities)
            ));
        }
        if let Some(&(entities, ns)) = points.last() {
            put(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{} {ns:.1}</text>\n",
                x(entities) + 10.0,
                y(ns) + 4.0,
                shape.name()
            ));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Of 1, 2, 5, 10, ... those from the greatest that is not above a number to the least that is not below another; at
/// least two.
fn round_marks(least: f64, most: f64) -> Vec<f64> {
    let all = || (-1..).flat_map(|decade| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(decade)));
    let first = all().take_while(|mark| *mark <= least.min(most)).last().unwrap_or(1.0);
    let last = all().find(|mark| *mark >= most && *mark > first).unwrap_or(f64::MAX);
    all().skip_while(|mark| *mark < first).take_while(|mark| *mark <= last).collect()
}

/// A number with commas between thousands.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        for (least, most, expected) in [
            (12.5, 275.0, &[10.0, 20.0, 50.0, 100.0, 200.0, 500.0][..]),
            (5.0, 5.0, &[5.0, 10.0]),
            (0.3, 0.5, &[0.2, 0.5]),
            (1.0, 4.0, &[1.0, 2.0, 5.0]),
            (f64::INFINITY, 0.0, &[1.0, 2.0]),
        ] {
            assert_eq!(round_marks(least, most), expected, "{least} to {most}");
        }
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn every_point_is_drawn_within_the_frame() {
        let lines =
            [(Shape::Uniform, vec![(1000, 10.0), (100_000, 100.0)]), (Shape::Crowd, vec![(1000, 1.0)])];
        let svg = draw(&lines, "measured < never");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("<polyline").count(), 2);
        // 100 ns is the top line, 10 the middle one; 1,000 the left edge and 100,000 the right one.
        let middle = TOP_PX + (HEIGHT_PX - TOP_PX - BOTTOM_PX) / 2.0;
        let right = WIDTH_PX - RIGHT_PX;
        assert!(
            svg.contains(&format!("points=\"{LEFT_PX:.1},{middle:.1} {right:.1},{TOP_PX:.1}\"")),
            "{svg}"
        );
        assert!(svg.contains("measured &lt; never") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn nothing_measured_is_an_empty_chart() {
        assert!(draw(&[], "").contains("</svg>"));
    }
}
