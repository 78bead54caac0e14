//! What may be claimed of a server after n trials: an exact interval for a proportion.
//!
//! Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
//! Biometrika 26 (1934) 404–413: it never covers less than it says, which matters more here than being narrow. At
//! 0 or n of n it is one-sided, the "rule of three": Hanley and Lippman-Hand, "If nothing goes wrong, is everything
//! all right?", JAMA 249 (1983) 1743–1745.

/// The interval for `successes` of `trials`, both possibly fractional because clusters were counted; `None` where
/// there is nothing to infer from.
#[must_use]
pub fn interval(successes: f64, trials: f64, confidence: f64) -> Option<[f64; 2]> {
    let possible =
        trials > 0.0 && (0.0..=trials).contains(&successes) && confidence > 0.0 && confidence < 1.0;
    if !possible {
        return None;
    }
    let alpha = 1.0 - confidence;
    let failures = trials - successes;
    if successes == 0.0 {
        return Some([0.0, one_sided(trials, alpha)]);
    }
    if failures == 0.0 {
        return Some([1.0 - one_sided(trials, alpha), 1.0]);
    }
    let low = beta_quantile(successes, failures + 1.0, alpha / 2.0);
    let high = beta_quantile(successes + 1.0, failures, 1.0 - alpha / 2.0);
    Some([low, high])
}

/// The largest p at which 0 of `trials` still happens with probability `alpha`; about 3 / trials at 95 %.
fn one_sided(trials: f64, alpha: f64) -> f64 {
    // exp_m1 instead of 1 - powf: at millions of trials the difference would be rounding noise.
    -(alpha.ln() / trials).exp_m1()
}

/// Where the Beta(a, b) distribution function reaches `probability`, by bisection: sixty halvings exhaust the
/// precision that matters, and it runs a few times per report.
fn beta_quantile(a: f64, b: f64, probability: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if beta_cdf(middle, a, b) < probability { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// Regularised incomplete beta function by its continued fraction (DLMF 8.17.22), on the side where it converges.
fn beta_cdf(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * continued_fraction(x, a, b) / a
    } else {
        1.0 - front * continued_fraction(1.0 - x, b, a) / b
    }
}

/// Lentz's method. The terms needed grow with the square root of the larger parameter.
fn continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..=100_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        fraction *= c * d;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let step = c * d;
        fraction *= step;
        if (step - 1.0).abs() < 1e-13 {
            break;
        }
    }
    fraction
}

/// Logarithm of the gamma function for positive arguments: Stirling's series (DLMF 5.11.1) above 10, reached by
/// recurrence from below.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: Option<[f64; 2]>, expected: [f64; 2]) {
        let [low, high] = actual.unwrap();
        assert!((low - expected[0]).abs() < 1e-6, "{low} is not {}", expected[0]);
        assert!((high - expected[1]).abs() < 1e-6, "{high} is not {}", expected[1]);
    }

    #[test]
    fn known_intervals() {
        // The 95 % intervals that R's binom.test prints.
        close(interval(1.0, 10.0, 0.95), [0.002_528_579, 0.445_016_1]);
        close(interval(5.0, 10.0, 0.95), [0.187_086, 0.812_914]);
    }

    #[test]
    fn nothing_in_n_is_the_rule_of_three() {
        let [low, high] = interval(0.0, 10_000.0, 0.95).unwrap();
        assert_eq!(low, 0.0);
        assert!((high - 2.995e-4).abs() < 1e-6, "{high}");
        let [low, high] = interval(10_000.0, 10_000.0, 0.95).unwrap();
        assert!((low - (1.0 - 2.995e-4)).abs() < 1e-6, "{low}");
        assert_eq!(high, 1.0);
    }

    #[test]
    fn millions_of_trials_stay_precise() {
        // At this size the normal approximation is right to three digits: 0.5 ± 1.96 · sqrt(0.25 / n).
        let [low, high] = interval(4_320_000.0, 8_640_000.0, 0.95).unwrap();
        let half = 1.959_964 * (0.25_f64 / 8_640_000.0).sqrt();
        assert!((low - (0.5 - half)).abs() < 1e-6 && (high - (0.5 + half)).abs() < 1e-6, "{low} {high}");
    }

    #[test]
    fn without_trials_there_is_no_interval() {
        assert_eq!(interval(0.0, 0.0, 0.95), None);
        assert_eq!(interval(11.0, 10.0, 0.95), None);
    }
}
