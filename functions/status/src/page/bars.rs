//! Draws amounts by time as stacked bars: one SVG path for each kind. A kind that is bad for users is
//! drawn below the ground line, so that its place tells it apart, not its colour alone.

use std::fmt::Write as _;

/// In SVG units; the page scales the chart.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 60.0;

/// The share of a step's width that its bar has.
const BAR: f64 = 0.8;

/// The height of the smallest amount above 0, so that a few among thousands can be seen.
const LEAST: f64 = 1.2;

/// One kind of what the bars show.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Its class in the style sheet.
    pub(super) class: &'static str,
    /// One for each step; none where it is not known.
    pub(super) amounts: Vec<Option<f64>>,
    pub(super) is_below: bool,
}

pub(super) struct Bars {
    /// What it shows, for screen readers.
    pub(super) label: String,
    pub(super) kinds: Vec<DrawnKind>,
    /// The amount at the top.
    pub(super) top: String,
    /// The attribute `d` of the lines at the top and at 0.
    pub(super) ground: String,
    /// Where equal parts of the time begin.
    pub(super) ticks: Vec<String>,
}

pub(super) struct DrawnKind {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    /// The attribute `d` of an SVG `path`.
    pub(super) path: String,
}

impl Bars {
    /// `steps` is how many there will be when the time is over: bars of the future are missing. The
    /// first kinds are the lowest above the line, and the highest below it.
    pub(super) fn of(
        label: String,
        kinds: &[Kind],
        steps: usize,
        ticks: Vec<String>,
        amount: fn(f64) -> String,
    ) -> Self {
        let sum = |step: usize, is_below: bool| -> f64 {
            let kinds = kinds.iter().filter(|kind| kind.is_below == is_below);
            kinds.filter_map(|kind| *kind.amounts.get(step)?).sum()
        };
        let most = |is_below: bool| {
            let sums = (0..steps).map(|step| sum(step, is_below));
            sums.fold(0.0, f64::max)
        };
        let (above, below) = (most(false), most(true));
        let all = if above + below > 0.0 {
            above + below
        } else {
            1.0
        };
        // What is below must have room for the smallest bar.
        let room = if below > 0.0 { LEAST } else { 0.0 };
        let ground = (HEIGHT * above / all).min(HEIGHT - room);
        let scale = HEIGHT / all;
        let pitch = WIDTH / steps.max(1) as f64;
        let mut reached = vec![[0.0, 0.0]; steps];
        let mut drawn = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let mut path = String::new();
            for (step, amount) in kind.amounts.iter().enumerate().take(steps) {
                let Some(amount) = amount.filter(|amount| *amount > 0.0) else {
                    continue;
                };
                let height = (amount * scale).max(LEAST);
                let from = &mut reached[step][usize::from(kind.is_below)];
                let y = match kind.is_below {
                    true => ground + *from,
                    false => ground - *from - height,
                };
                *from += height;
                let x = pitch * (step as f64 + (1.0 - BAR) / 2.0);
                let width = pitch * BAR;
                // Writing to a string cannot fail.
                let _ = write!(path, "M{x:.1} {y:.1}h{width:.1}v{height:.1}h-{width:.1}z");
            }
            let Kind { name, class, .. } = *kind;
            drawn.push(DrawnKind { name, class, path });
        }
        Self {
            label,
            kinds: drawn,
            top: amount(above),
            ground: format!("M0 {ground:.1}H{WIDTH}M0 0H{WIDTH}"),
            ticks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(class: &'static str, is_below: bool, amounts: &[Option<f64>]) -> Kind {
        Kind {
            name: "",
            class,
            amounts: amounts.to_vec(),
            is_below,
        }
    }

    fn drawn(steps: usize, kinds: &[Kind]) -> (Vec<String>, String, String) {
        let bars = Bars::of(String::new(), kinds, steps, vec![], |it| it.to_string());
        let paths = bars.kinds.into_iter().map(|kind| kind.path);
        (paths.collect(), bars.ground, bars.top)
    }

    #[test]
    fn kinds_are_stacked_and_the_largest_sum_reaches_the_top() {
        let one = kind("one", false, &[Some(20.0), Some(10.0)]);
        let two = kind("two", false, &[Some(10.0), Some(0.0)]);
        let (paths, ground, top) = drawn(2, &[one, two]);
        let expected = [
            "M15.0 20.0h120.0v40.0h-120.0zM165.0 40.0h120.0v20.0h-120.0z",
            "M15.0 0.0h120.0v20.0h-120.0z",
        ];
        assert_eq!(paths, expected);
        assert_eq!(
            (ground.as_str(), top.as_str()),
            ("M0 60.0H300M0 0H300", "30")
        );
    }

    #[test]
    fn bad_kind_is_drawn_below_the_line_on_the_same_scale() {
        let good = kind("good", false, &[Some(20.0)]);
        let bad = kind("bad", true, &[Some(10.0)]);
        let (paths, ground, top) = drawn(1, &[good, bad]);
        let expected = [
            "M30.0 0.0h240.0v40.0h-240.0z",
            "M30.0 40.0h240.0v20.0h-240.0z",
        ];
        assert_eq!(paths, expected);
        assert_eq!(
            (ground.as_str(), top.as_str()),
            ("M0 40.0H300M0 0H300", "20")
        );
    }

    #[test]
    fn one_among_thousands_can_be_seen_within_the_chart() {
        let good = kind("good", false, &[Some(9_999.0)]);
        let bad = kind("bad", true, &[Some(1.0)]);
        let (paths, ground, _) = drawn(1, &[good, bad]);
        assert_eq!(paths[1], "M30.0 58.8h240.0v1.2h-240.0z");
        assert_eq!(ground, "M0 58.8H300M0 0H300");
    }

    #[test]
    fn steps_that_are_unknown_or_in_the_future_have_no_bar() {
        let all = kind("all", false, &[None, Some(4.0)]);
        let (paths, ..) = drawn(4, &[all]);
        assert_eq!(paths, ["M82.5 0.0h60.0v60.0h-60.0z"]);
        let (paths, ground, top) = drawn(4, &[kind("all", false, &[])]);
        assert_eq!(paths, [""]);
        assert_eq!((ground.as_str(), top.as_str()), ("M0 0.0H300M0 0H300", "0"));
    }
}
