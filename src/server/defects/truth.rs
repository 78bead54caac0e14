//! How often a defect struck, for a test to compare with what was found.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Serialize;

/// What one defect did.
#[derive(Debug, Default)]
pub(super) struct Truth {
    planted: u64,
    deliveries: u64,
    channels: BTreeMap<Rc<str>, u64>,
}

/// The same, as `GET /defects` tells it.
#[derive(Debug, Serialize)]
pub(super) struct Told<'a> {
    kind: &'static str,
    parameters: &'a str,
    /// How often it struck.
    planted: u64,
    /// How many deliveries it touched; more than `planted` where one strike lasts.
    deliveries: u64,
    /// How often it struck on each channel.
    channels: BTreeMap<&'a str, u64>,
}

impl Truth {
    /// It struck once, on `channel` if on one, and touched so many deliveries.
    pub(super) fn strike(&mut self, channel: Option<&Rc<str>>, deliveries: u64) {
        self.planted += 1;
        self.deliveries += deliveries;
        if let Some(channel) = channel {
            *self.channels.entry(Rc::clone(channel)).or_default() += 1;
        }
    }

    /// An earlier strike touched one more delivery.
    pub(super) fn touch(&mut self) {
        self.deliveries += 1;
    }

    /// How often it struck.
    pub(super) fn planted(&self) -> u64 {
        self.planted
    }

    pub(super) fn told<'a>(&'a self, kind: &'static str, parameters: &'a str) -> Told<'a> {
        let Self { planted, deliveries, ref channels } = *self;
        let channels = channels.iter().map(|(channel, &struck)| (&**channel, struck)).collect();
        Told { kind, parameters, planted, deliveries, channels }
    }
}
