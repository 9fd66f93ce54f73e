//! The requests HAProxy has at the moment.

use crate::sim::arrivals::Coming;

/// One request. The place of one that has ended is used again, with another serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestId {
    place: u32,
    serial: u32,
}

impl RequestId {
    /// No request ever has it.
    pub(super) const NONE: Self = Self { place: u32::MAX, serial: 0 };
}

/// What HAProxy knows of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) coming: Coming,
    pub(super) stage: Stage,
}

/// How far it has come. Times are seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    /// In HAProxy's queue.
    Queued,
    /// Sent to a server.
    Sent { server: usize, at_s: f64 },
    /// Answered up to the last header; the client reads.
    Answered { server: usize, sent_s: f64, at_s: f64 },
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    places: Vec<(u32, Option<Request>)>,
    free: Vec<u32>,
}

impl Requests {
    pub(super) fn add(&mut self, coming: Coming) -> RequestId {
        let request = Some(Request { coming, stage: Stage::Queued });
        if let Some(place) = self.free.pop() {
            let (serial, taken) = &mut self.places[place as usize];
            *taken = request;
            return RequestId { place, serial: *serial };
        }
        // HAProxy has at most millions of them at a time.
        let place = self.places.len() as u32;
        self.places.push((0, request));
        RequestId { place, serial: 0 }
    }

    pub(super) fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        let (serial, request) = self.places.get_mut(id.place as usize)?;
        request.as_mut().filter(|_| *serial == id.serial)
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&Request> {
        let (serial, request) = self.places.get(id.place as usize)?;
        request.as_ref().filter(|_| *serial == id.serial)
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Request> {
        let (serial, request) = self.places.get_mut(id.place as usize)?;
        let removed = request.take_if(|_| *serial == id.serial)?;
        *serial = serial.wrapping_add(1);
        self.free.push(id.place);
        Some(removed)
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        (self.places.len() - self.free.len()) as u32
    }

    /// Those on `server`.
    pub(super) fn on(&self, wanted: usize) -> Vec<RequestId> {
        let places = self.places.iter().enumerate().filter(|(_, (_, request))| {
            request.is_some_and(|request| match request.stage {
                Stage::Queued => false,
                Stage::Sent { server, .. } | Stage::Answered { server, .. } => server == wanted,
            })
        });
        places.map(|(place, (serial, _))| RequestId { place: place as u32, serial: *serial }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_under_another_id() {
        let coming = Coming { at_s: 0.0, sent_for_s: 0.0, service_s: 0.0, read_for_s: 0.0, fails: false };
        let mut requests = Requests::default();
        let first = requests.add(coming);
        assert!(requests.remove(first).is_some() && requests.remove(first).is_none());
        let second = requests.add(coming);
        assert_eq!((requests.len(), requests.places.len()), (1, 1));
        assert!(requests.get(first).is_none() && requests.get_mut(second).is_some());
        assert!(requests.get(RequestId::NONE).is_none());
    }
}
