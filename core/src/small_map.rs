//! A map from numbers to numbers that keeps the order in which keys were added. A map with few keys is a vector that is
//! searched from its start. Only a map with many keys has a hash table, so that the many small maps need none.

use hashbrown::HashTable;

/// Up to so many keys are looked through one by one.
const SCANNED: usize = 12;

#[derive(Default, Clone)]
pub struct SmallMap {
    items: Vec<(u64, u64)>,
    places: Option<Box<HashTable<u32>>>,
}

fn hash(key: u64) -> u64 {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

impl SmallMap {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn items(&self) -> &[(u64, u64)] {
        &self.items
    }

    pub fn clear(&mut self) {
        self.items.clear();
        if let Some(places) = &mut self.places {
            places.clear();
        }
    }

    pub fn place(&self, key: u64) -> Option<usize> {
        match &self.places {
            None => self.items.iter().position(|item| item.0 == key),
            Some(places) => {
                let items = &self.items;
                places.find(hash(key), |&place| items[place as usize].0 == key).map(|&place| place as usize)
            }
        }
    }

    pub fn get(&self, key: u64) -> Option<u64> {
        self.place(key).map(|place| self.items[place].1)
    }

    /// The value of a key, which is put there first where it was not.
    pub fn get_or_insert(&mut self, key: u64, value: u64) -> &mut u64 {
        let place = match self.place(key) {
            Some(place) => place,
            None => self.push(key, value),
        };
        &mut self.items[place].1
    }

    pub fn insert(&mut self, key: u64, value: u64) {
        *self.get_or_insert(key, value) = value;
    }

    /// Puts a key that is not there.
    fn push(&mut self, key: u64, value: u64) -> usize {
        let place = self.items.len();
        self.items.push((key, value));
        match &mut self.places {
            Some(places) => {
                let items = &self.items;
                places.insert_unique(hash(key), place as u32, |&place| hash(items[place as usize].0));
            }
            None if place >= SCANNED => self.build(),
            None => {}
        }
        place
    }

    fn build(&mut self) {
        let mut places = HashTable::with_capacity(2 * self.items.len());
        for (place, item) in self.items.iter().enumerate() {
            places.insert_unique(hash(item.0), place as u32, |&place| hash(self.items[place as usize].0));
        }
        self.places = Some(Box::new(places));
    }

    /// Keeps the items for which `keep` is true, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(u64, u64) -> bool) {
        self.items.retain(|item| keep(item.0, item.1));
        if self.places.take().is_some() && self.items.len() > SCANNED {
            self.build();
        }
    }

    pub fn bytes(&self) -> usize {
        self.items.capacity() * 16 + self.places.as_ref().map_or(0, |places| places.capacity() * 5 + 48)
    }
}

#[cfg(test)]
mod tests {
    use super::SmallMap;

    #[test]
    fn keys_keep_their_order_and_values_below_and_above_the_border() {
        let mut map = SmallMap::default();
        for key in 0..40u64 {
            *map.get_or_insert(key * 7, 0) += key;
            *map.get_or_insert(key * 7, 0) += 1;
        }
        let expected: Vec<(u64, u64)> = (0..40).map(|key| (key * 7, key + 1)).collect();
        assert_eq!(map.items(), expected);
        assert_eq!(map.get(14), Some(3));
        assert_eq!(map.get(15), None);
        map.retain(|key, _| key % 2 == 0);
        assert_eq!(map.get(14), Some(3));
        assert_eq!(map.get(7), None);
        map.clear();
        assert!(map.is_empty());
        assert_eq!(map.get(14), None);
    }
}
