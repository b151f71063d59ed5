//! Random numbers from a seed, in streams of their own: what one part of a run draws changes nothing
//! for the others, so that all policies meet the same users.

/// A stream of random numbers.
#[derive(Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The stream of this name.
    pub fn stream(seed: u64, name: &str) -> Self {
        // FNV-1a: the standard library's hasher may change between its versions.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(fastrand::Rng::with_seed(hash ^ seed.rotate_left(32)))
    }

    /// From 0 to 1, without either.
    pub fn fraction(&mut self) -> f64 {
        loop {
            let fraction = self.0.f64();
            if fraction > 0.0 {
                return fraction;
            }
        }
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.fraction().ln()
    }

    /// Normal with mean 0 and deviation 1, by Box and Muller's method.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.fraction().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.fraction()).cos()
    }
}

/// A lognormal distribution of seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogNormal {
    pub median: f64,
    /// Of the logarithm.
    pub sigma: f64,
}

/// The standard normal distribution's quantile of 95 %.
const Z95: f64 = 1.644_853_626_951_472;

impl LogNormal {
    pub fn of_mean(mean: f64, sigma: f64) -> Self {
        Self {
            median: mean / (sigma * sigma / 2.0).exp(),
            sigma,
        }
    }

    /// With this median, and 95 % below `p95`.
    pub fn of_quantiles(median: f64, p95: f64) -> Self {
        Self {
            median,
            sigma: (p95 / median).ln().max(0.0) / Z95,
        }
    }

    pub fn mean(&self) -> f64 {
        self.median * (self.sigma * self.sigma / 2.0).exp()
    }

    pub fn draw(&self, random: &mut Random) -> f64 {
        self.median * (self.sigma * random.normal()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_and_by_name_and_repeat() {
        let first = |seed, name| Random::stream(seed, name).fraction();
        assert_eq!(first(1, "a").to_bits(), first(1, "a").to_bits());
        assert_ne!(first(1, "a").to_bits(), first(2, "a").to_bits());
        assert_ne!(first(1, "a").to_bits(), first(1, "b").to_bits());
    }

    #[test]
    fn lognormal_has_the_mean_and_the_quantiles_that_it_was_made_of() {
        let mut random = Random::stream(1, "test");
        let sessions = LogNormal::of_mean(1200.0, 1.0);
        assert!((sessions.mean() - 1200.0).abs() < 1e-9);
        let boots = LogNormal::of_quantiles(60.0, 120.0);
        let mut drawn: Vec<_> = (0..40_000).map(|_| boots.draw(&mut random)).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((drawn[20_000] - 60.0).abs() < 1.0, "{}", drawn[20_000]);
        assert!((drawn[38_000] - 120.0).abs() < 3.0, "{}", drawn[38_000]);
    }
}
