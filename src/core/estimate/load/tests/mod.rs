//! The estimator as a whole, against worlds of which the truth is known.

mod bounds;
mod learning;
mod rates;
