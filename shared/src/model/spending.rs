//! What machine time has cost, as far as it has prices.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// What a region's instances have cost in this calendar month in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spending {
    /// The currency of the region's prices.
    pub currency: String,
    pub month: f64,
    pub today: f64,
    /// Machine time of the month without a price: what it cost is unknown, and not in the sums.
    pub unpriced_seconds: f64,
    /// Hours of the month that nobody has counted: they are not in the sums either.
    pub uncounted_hours: u32,
    /// When the month ends.
    pub until: Timestamp,
}

/// What a region's instances have cost on a day in UTC.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DayCost {
    pub day: Date,
    /// None without prices.
    pub currency: Option<String>,
    /// Of the time that has a price; none if there is machine time, and none of it has.
    pub cost: Option<f64>,
    pub machine_seconds: f64,
    /// Of these, without a price.
    pub unpriced_seconds: f64,
    /// What that time is.
    pub unpriced: Vec<UnpricedTime>,
    /// Hours whose machine time is unknown, because no pass has counted them.
    pub uncounted_hours: u32,
}

/// Machine time without a price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnpricedTime {
    pub instance_type: String,
    /// `ON_DEMAND`, `SPOT` or `UNKNOWN`.
    pub market: String,
    pub seconds: f64,
}
