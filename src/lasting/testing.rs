//! Servers for tests.

use super::line::literal;
use crate::core::controller::{Origin, ServerStanding};
use crate::core::units::Weight;

/// A declared server at `address`; none if that is no IP address.
pub(super) fn server(name: &str, disabled: Option<bool>, weight: u16, address: &str) -> ServerStanding {
    let (address, port) = literal(address).unzip();
    ServerStanding {
        server: name.to_owned(),
        disabled,
        weight: Weight::new(weight),
        current_weight: Weight::ONE,
        initial_weight: Weight::ONE,
        is_out: disabled != Some(false),
        address,
        port: port.unwrap_or(0),
        origin: Origin::Declared,
    }
}
