//! A trace's frontier as SVG: what each run costs, against the share of users who were not served at
//! once.

use std::fmt::Write;

use crate::frontier::{Goal, Results};
use crate::table::ratio;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 60.0;

/// Shares from here on have a place of their own on the axis. Less, and nobody, is at its left end.
const LEAST_SHARE: f64 = 1e-5;

const COLOURS: [&str; 4] = ["#1f6feb", "#d1570b", "#1a7f37", "#8250df"];

/// Where a share and a cost are drawn.
struct Axes {
    highest: f64,
}

impl Axes {
    /// In powers of ten.
    fn x(&self, share: f64) -> f64 {
        let decades = -LEAST_SHARE.log10();
        let place = share.max(LEAST_SHARE).log10() + decades;
        LEFT + place / decades * (WIDTH - LEFT - RIGHT)
    }

    /// From the clairvoyant's cost on.
    fn y(&self, cost: f64) -> f64 {
        let place = (cost - 0.9) / (self.highest - 0.9);
        HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)
    }
}

/// One run in the chart.
#[derive(Debug)]
pub struct Dot {
    /// Of users who were not served at once.
    pub share: f64,
    /// As a multiple of the clairvoyant's.
    pub cost: f64,
    pub label: String,
}

/// The chart of one trace, a whole SVG file.
pub fn svg(result: &Results, goal: &Goal) -> String {
    let series: Vec<(&str, Vec<Dot>)> = result
        .frontiers
        .iter()
        .map(|frontier| {
            let dots = frontier.points.iter().map(|point| Dot {
                share: point.outcome.share_not_at_once(),
                cost: ratio(point.outcome.machine_time(), result.foresight.clairvoyant),
                label: point.parameter.to_string(),
            });
            (frontier.policy.name, dots.collect())
        })
        .collect();
    svg_of(&result.workload, &series, goal)
}

/// The chart of named series, each in the order in which its dots are connected.
pub fn svg_of(name: &str, series: &[(&str, Vec<Dot>)], goal: &Goal) -> String {
    let costs = series.iter().flat_map(|(_, dots)| dots).map(|dot| dot.cost);
    let highest = costs.fold(1.5, f64::max).min(8.0) + 0.1;
    let axes = Axes { highest };
    let title = format!("{}: cost against users who waited", escaped(name));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{title}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    text(
        &mut svg,
        (LEFT, 24.0),
        "start",
        &format!("<tspan font-size=\"16\" font-weight=\"600\">{title}</tspan>"),
    );
    grid(&mut svg, &axes);
    let x = axes.x(goal.not_at_once);
    line(&mut svg, (x, TOP), (x, HEIGHT - BOTTOM), "#57606a", "4 3");
    text(&mut svg, (x + 4.0, TOP + 12.0), "start", "goal");
    let y = axes.y(1.0);
    line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y), "#57606a", "4 3");
    text(
        &mut svg,
        (WIDTH - RIGHT - 4.0, y - 4.0),
        "end",
        "clairvoyant",
    );
    let mut legend = LEFT;
    for (nth, (name, dots)) in series.iter().enumerate() {
        let colour = COLOURS[nth % COLOURS.len()];
        draw(&mut svg, &axes, dots, colour);
        let _ = writeln!(
            svg,
            "<circle cx=\"{legend}\" cy=\"40\" r=\"4\" fill=\"{colour}\"/>"
        );
        text(&mut svg, (legend + 10.0, 44.0), "start", &escaped(name));
        legend += 120.0;
    }
    svg.push_str("</svg>\n");
    svg
}

fn grid(svg: &mut String, axes: &Axes) {
    let bottom = HEIGHT - BOTTOM;
    for (share, name) in [
        (1e-5, "0.001 % or less"),
        (1e-4, "0.01 %"),
        (1e-3, "0.1 %"),
        (1e-2, "1 %"),
        (1e-1, "10 %"),
        (1.0, "100 %"),
    ] {
        let x = axes.x(share);
        line(svg, (x, TOP), (x, bottom), "#d8dee4", "");
        text(
            svg,
            (x, bottom + 18.0),
            if share >= 1.0 { "end" } else { "middle" },
            name,
        );
    }
    let step = if axes.highest > 4.0 {
        1.0
    } else if axes.highest > 2.2 {
        0.5
    } else {
        0.1
    };
    let mut cost = 1.0;
    while cost <= axes.highest {
        let y = axes.y(cost);
        line(svg, (LEFT, y), (WIDTH - RIGHT, y), "#d8dee4", "");
        text(svg, (LEFT - 8.0, y + 4.0), "end", &format!("{cost:.1}"));
        cost += step;
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    text(
        svg,
        (middle, HEIGHT - 16.0),
        "middle",
        "users who were not served at once",
    );
    let height = f64::midpoint(TOP, bottom);
    let _ = writeln!(
        svg,
        "<text x=\"18\" y=\"{height}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {height})\" \
         fill=\"#24292f\">machine-hours ÷ clairvoyant's</text>"
    );
}

fn draw(svg: &mut String, axes: &Axes, dots: &[Dot], colour: &str) {
    let places = dots.iter().filter(|dot| dot.cost <= axes.highest);
    let path: Vec<_> = places
        .clone()
        .map(|dot| format!("{:.1},{:.1}", axes.x(dot.share), axes.y(dot.cost)))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
        path.join(" ")
    );
    for dot in places {
        let (x, y) = (axes.x(dot.share), axes.y(dot.cost));
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"
        );
        text(svg, (x + 6.0, y - 6.0), "start", &escaped(&dot.label));
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, dashes: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
         stroke-dasharray=\"{dashes}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// `content` is XML already.
fn text(svg: &mut String, at: (f64, f64), anchor: &str, content: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#24292f\">{content}</text>",
        at.0, at.1
    );
}

/// A trace is named after its file.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
