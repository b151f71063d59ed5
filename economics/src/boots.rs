//! How long machines boot, from their launch until their agent registers.

use std::sync::Arc;

use crate::random::{LogNormal, Random};

#[derive(Clone, Debug, PartialEq)]
pub enum Boots {
    LogNormal(LogNormal),
    Recorded(RecordedBoots),
}

/// Seconds, in increasing order; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedBoots(Arc<[f64]>);

impl RecordedBoots {
    /// None if there are none.
    pub fn of(mut seconds: Vec<f64>) -> Option<Self> {
        seconds.retain(|boot| boot.is_finite() && *boot >= 0.0);
        seconds.sort_by(f64::total_cmp);
        (!seconds.is_empty()).then(|| Self(seconds.into()))
    }
}

impl Boots {
    pub fn median(&self) -> f64 {
        match self {
            Self::LogNormal(boots) => boots.median,
            Self::Recorded(RecordedBoots(boots)) => boots[boots.len() / 2],
        }
    }

    pub fn mean(&self) -> f64 {
        match self {
            Self::LogNormal(boots) => boots.mean(),
            Self::Recorded(RecordedBoots(boots)) => boots.iter().sum::<f64>() / boots.len() as f64,
        }
    }

    pub fn draw(&self, random: &mut Random) -> f64 {
        match self {
            Self::LogNormal(boots) => boots.draw(random),
            Self::Recorded(RecordedBoots(boots)) => {
                let place = random.fraction() * boots.len() as f64;
                boots[(place as usize).min(boots.len() - 1)]
            }
        }
    }
}

impl From<LogNormal> for Boots {
    fn from(boots: LogNormal) -> Self {
        Self::LogNormal(boots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_boots_are_drawn_as_often_as_they_were() {
        assert_eq!(RecordedBoots::of(vec![f64::NAN]), None);
        let recorded = RecordedBoots::of(vec![90.0, 30.0, 60.0, 60.0]).unwrap();
        let boots = Boots::Recorded(recorded);
        assert_eq!((boots.median(), boots.mean()), (60.0, 60.0));
        let mut random = Random::stream(1, "test");
        let drawn: Vec<_> = (0..4_000).map(|_| boots.draw(&mut random)).collect();
        let share = |boot| drawn.iter().filter(|it| **it == boot).count();
        assert!((900..1_100).contains(&share(30.0)), "{}", share(30.0));
        assert!((1_900..2_100).contains(&share(60.0)), "{}", share(60.0));
    }
}
