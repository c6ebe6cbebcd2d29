//! Small numbers to small numbers, or small numbers alone, in the order in which they came: a sorted or hashed map of few
//! items is larger than a vector that is searched from its start. Only a table with many keys has a hash table, so that
//! the many small ones need none.

use hashbrown::HashTable;

use crate::few::Few;

/// Items of so many bytes are looked through one by one.
const SCANNED_BYTES: usize = 256;

/// What a table holds: a key alone, or with its value.
pub trait Item: Copy {
    fn key(&self) -> u64;
}

impl Item for u64 {
    fn key(&self) -> u64 {
        *self
    }
}

impl Item for (u64, u64) {
    fn key(&self) -> u64 {
        self.0
    }
}

#[derive(Clone)]
pub struct SmallTable<T> {
    items: Few<T>,
    places: Option<Box<HashTable<u32>>>,
}

/// Keys, each with the place at which it came.
pub type SmallSet = SmallTable<u64>;
pub type SmallMap = SmallTable<(u64, u64)>;

impl<T> Default for SmallTable<T> {
    fn default() -> Self {
        SmallTable { items: Few::None, places: None }
    }
}

fn hash(key: u64) -> u64 {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

impl<T: Item> SmallTable<T> {
    const SCANNED: usize = SCANNED_BYTES / size_of::<T>();

    pub fn len(&self) -> usize {
        self.items().len()
    }

    pub fn is_empty(&self) -> bool {
        self.items().is_empty()
    }

    pub fn items(&self) -> &[T] {
        self.items.as_slice()
    }

    pub fn clear(&mut self) {
        self.items.clear();
        if let Some(places) = &mut self.places {
            places.clear();
        }
    }

    pub fn place(&self, key: u64) -> Option<usize> {
        match &self.places {
            None => self.items().iter().position(|item| item.key() == key),
            Some(places) => {
                let items = self.items();
                places.find(hash(key), |&place| items[place as usize].key() == key).map(|&place| place as usize)
            }
        }
    }

    /// Puts an item whose key is not there. Returns its place.
    pub fn push(&mut self, item: T) -> usize {
        let place = self.len();
        self.items.push(item);
        match &mut self.places {
            Some(places) => {
                let items = self.items.as_slice();
                places.insert_unique(hash(item.key()), place as u32, |&place| hash(items[place as usize].key()));
            }
            None if place >= Self::SCANNED => self.build(),
            None => {}
        }
        place
    }

    fn build(&mut self) {
        let items = self.items.as_slice();
        let mut places = HashTable::with_capacity(2 * items.len());
        for (place, item) in items.iter().enumerate() {
            places.insert_unique(hash(item.key()), place as u32, |&place| hash(items[place as usize].key()));
        }
        self.places = Some(Box::new(places));
    }

    pub fn bytes(&self) -> usize {
        self.items.bytes() + self.places.as_ref().map_or(0, |places| places.capacity() * 5 + 48)
    }
}

impl SmallMap {
    pub fn get(&self, key: u64) -> Option<u64> {
        self.place(key).map(|place| self.items()[place].1)
    }

    /// The value of a key, which is put there first where it was not.
    pub fn get_or_insert(&mut self, key: u64, value: u64) -> &mut u64 {
        let place = match self.place(key) {
            Some(place) => place,
            None => self.push((key, value)),
        };
        &mut self.items.as_mut_slice()[place].1
    }

    pub fn insert(&mut self, key: u64, value: u64) {
        *self.get_or_insert(key, value) = value;
    }

    /// Keeps the items for which `keep` is true, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(u64, u64) -> bool) {
        self.items.retain(|item| keep(item.0, item.1));
        if self.places.take().is_some() && self.len() > Self::SCANNED {
            self.build();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SmallMap, SmallSet};

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

    #[test]
    fn a_set_knows_the_place_of_each_key_below_and_above_the_border() {
        let mut set = SmallSet::default();
        for key in 0..100u64 {
            assert_eq!(set.place(key * 7), None);
            assert_eq!(set.push(key * 7), key as usize);
            assert_eq!(set.place(key * 7), Some(key as usize));
        }
        assert!((0..100).all(|key| set.place(key * 7) == Some(key as usize)));
    }
}
