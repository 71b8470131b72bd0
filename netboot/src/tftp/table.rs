//! Which transfers there are, and who may have another.
//!
//! Knows no sockets, files or clocks. Invariants: one client port has at most one transfer, one
//! host at most `per_host`, all together at most `most`; a request that was never followed gives
//! way to a new one, so that nobody can keep others out by asking and falling silent.

use std::{
    collections::{HashMap, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
};

/// Names a transfer for as long as it lives; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id {
    slot: u32,
    generation: u32,
}

/// What the table must know of a transfer.
pub(super) trait Entry {
    /// Its client.
    fn peer(&self) -> SocketAddrV4;
    /// Whether the client has answered anything yet.
    fn is_followed(&self) -> bool;
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

/// All transfers.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    by_peer: HashMap<SocketAddrV4, Id>,
    per_host: HashMap<Ipv4Addr, Vec<Id>>,
    /// In the order of their requests; some have ended or are followed by now.
    unfollowed: VecDeque<Id>,
    last: u32,
    most: usize,
    most_per_host: usize,
}

impl<T: Entry> Table<T> {
    pub(super) fn new(most: usize, most_per_host: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_peer: HashMap::new(),
            per_host: HashMap::new(),
            unfollowed: VecDeque::new(),
            last: 0,
            most,
            most_per_host,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.by_peer.len()
    }

    pub(super) fn of_peer(&self, peer: SocketAddrV4) -> Option<Id> {
        self.by_peer.get(&peer).copied()
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slots.get_mut(usize::try_from(id.slot).ok()?)?;
        (slot.generation == id.generation)
            .then_some(slot.entry.as_mut())
            .flatten()
    }

    fn is_followed(&self, id: Id) -> Option<bool> {
        let slot = self.slots.get(usize::try_from(id.slot).ok()?)?;
        let entry = slot.entry.as_ref()?;
        (slot.generation == id.generation).then(|| entry.is_followed())
    }

    /// Whether a new transfer of this host finds room; if something must give way for it, what.
    pub(super) fn room(&mut self, host: Ipv4Addr) -> Room {
        let of_host = self.per_host.get(&host).map_or(&[][..], Vec::as_slice);
        if of_host.len() >= self.most_per_host {
            let oldest = of_host
                .iter()
                .find(|id| self.is_followed(**id) == Some(false));
            return oldest.map_or(Room::None, |id| Room::After(*id));
        }
        if self.count() < self.most {
            return Room::Free;
        }
        while let Some(id) = self.unfollowed.pop_front() {
            if self.is_followed(id) == Some(false) {
                return Room::After(id);
            }
        }
        Room::None
    }

    /// Adds a transfer; there must be room, and none of the same peer.
    pub(super) fn insert(&mut self, entry: T) -> Id {
        let peer = entry.peer();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                entry: None,
            });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.last = self.last.wrapping_add(1);
        let id = Id {
            slot,
            generation: self.last,
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.generation = id.generation;
            place.entry = Some(entry);
        }
        self.by_peer.insert(peer, id);
        self.per_host.entry(*peer.ip()).or_default().push(id);
        // Most have ended when their turn comes; look after the queue now and then.
        if self.unfollowed.len() > 2 * self.count() + 64 {
            let mut queue = std::mem::take(&mut self.unfollowed);
            queue.retain(|id| self.is_followed(*id) == Some(false));
            self.unfollowed = queue;
        }
        self.unfollowed.push_back(id);
        id
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        self.free.push(id.slot);
        let peer = entry.peer();
        self.by_peer.remove(&peer);
        if let Some(of_host) = self.per_host.get_mut(peer.ip()) {
            of_host.retain(|other| *other != id);
            if of_host.is_empty() {
                self.per_host.remove(peer.ip());
            }
        }
        if self.by_peer.is_empty() {
            // A storm is over: give its memory back.
            self.slots = Vec::new();
            self.free = Vec::new();
            self.unfollowed = VecDeque::new();
        }
        Some(entry)
    }

    /// All there are.
    pub(super) fn ids(&self) -> Vec<Id> {
        self.by_peer.values().copied().collect()
    }
}

/// Whether there is room for another transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// When this one, which nobody followed, has gone.
    After(Id),
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Transfer(SocketAddrV4, bool);

    impl Entry for Transfer {
        fn peer(&self) -> SocketAddrV4 {
            self.0
        }
        fn is_followed(&self) -> bool {
            self.1
        }
    }

    const fn peer(host: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, host), port)
    }

    #[test]
    fn a_name_is_never_given_twice() {
        let mut table = Table::new(10, 10);
        let first = table.insert(Transfer(peer(1, 1), true));
        assert_eq!(table.of_peer(peer(1, 1)), Some(first));
        assert!(table.remove(first).is_some());
        let second = table.insert(Transfer(peer(1, 1), true));
        assert_ne!(first, second);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!((table.count(), table.ids()), (1, vec![second]));
    }

    #[test]
    fn a_host_has_so_many_and_its_own_silent_ones_give_way() {
        let mut table = Table::new(10, 2);
        let host = *peer(1, 0).ip();
        let silent = table.insert(Transfer(peer(1, 1), false));
        table.insert(Transfer(peer(1, 2), true));
        assert_eq!(table.room(host), Room::After(silent));
        table.remove(silent);
        table.insert(Transfer(peer(1, 3), true));
        assert_eq!(table.room(host), Room::None);
        assert_eq!(table.room(*peer(2, 0).ip()), Room::Free);
    }

    #[test]
    fn when_all_places_are_taken_the_oldest_silent_one_gives_way() {
        let mut table = Table::new(3, 2);
        let all: Vec<_> = (1..=3)
            .map(|host| table.insert(Transfer(peer(host, 1), false)))
            .collect();
        if let Some(entry) = table.get_mut(all[0]) {
            entry.1 = true;
        }
        let host = *peer(9, 0).ip();
        assert_eq!(table.room(host), Room::After(all[1]));
        table.remove(all[1]);
        table.insert(Transfer(peer(4, 1), true));
        assert_eq!(table.room(host), Room::After(all[2]));
        table.remove(all[2]);
        table.insert(Transfer(peer(5, 1), true));
        assert_eq!(table.room(host), Room::None);
    }

    #[test]
    fn the_queue_of_silent_ones_does_not_grow_with_time() {
        let mut table = Table::new(3, 2);
        for port in 1..5000 {
            table.insert(Transfer(peer(1, 1), true));
            let id = table.insert(Transfer(peer(2, port), false));
            table.remove(id);
            let id = table.of_peer(peer(1, 1)).expect("is there");
            assert!(table.unfollowed.len() < 100);
            if port % 1000 == 0 {
                table.remove(id);
            } else {
                table.get_mut(id).expect("is there").1 = true;
                table.remove(id);
            }
        }
    }
}
