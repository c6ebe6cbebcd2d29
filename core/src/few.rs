//! Items in order, of which most often there is one: that one lies here, without an allocation.

#[derive(Clone, Default)]
pub enum Few<T> {
    #[default]
    None,
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub fn as_slice(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(item) => std::slice::from_ref(item),
            Few::Many(items) => items,
        }
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Few::None => &mut [],
            Few::One(item) => std::slice::from_mut(item),
            Few::Many(items) => items,
        }
    }

    pub fn push(&mut self, item: T) {
        if let Few::Many(items) = self {
            items.push(item);
            return;
        }
        *self = match std::mem::take(self) {
            Few::One(first) => Few::Many(vec![first, item]),
            _ => Few::One(item),
        };
    }

    /// Room that was allocated stays.
    pub fn clear(&mut self) {
        match self {
            Few::Many(items) => items.clear(),
            _ => *self = Few::None,
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        match self {
            Few::One(item) if !keep(item) => *self = Few::None,
            Few::Many(items) => items.retain(keep),
            _ => {}
        }
    }

    /// That were allocated.
    pub fn bytes(&self) -> usize {
        match self {
            Few::Many(items) => items.capacity() * size_of::<T>(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Few;

    #[test]
    fn items_keep_their_order_and_one_alone_takes_no_more_than_a_vector() {
        let mut few = Few::default();
        assert_eq!(few.as_slice(), &[] as &[u64]);
        for number in 0..5 {
            few.push(number);
            few.as_mut_slice()[number as usize] += 10;
            assert_eq!(few.as_slice(), (10..=10 + number).collect::<Vec<_>>());
        }
        few.retain(|&item| item % 2 == 0);
        assert_eq!(few.as_slice(), [10, 12, 14]);
        few.clear();
        assert!(few.as_slice().is_empty() && few.bytes() > 0);
        let mut one = Few::One(7u64);
        one.retain(|&item| item > 7);
        assert!(one.as_slice().is_empty() && one.bytes() == 0);
        assert_eq!(size_of::<Few<(u64, u64)>>(), size_of::<Vec<u64>>());
    }
}
