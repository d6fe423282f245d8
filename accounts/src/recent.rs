//! What was used lately, in a bounded number: two generations, of which the older one is forgotten as a whole when the newer one
//! is full. Whatever is used moves to the newer one.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Values by their keys, those that were used lately.
#[derive(Debug)]
pub struct Recent<K, V> {
    newer: HashMap<K, V>,
    older: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// None yet; never more than `most`, of which the half that was used last is never forgotten.
    pub fn new(most: usize) -> Recent<K, V> {
        Recent { newer: HashMap::new(), older: HashMap::new(), half: (most / 2).max(1) }
    }

    /// The value of a key, which is used by this.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if !self.newer.contains_key(key) {
            let (key, value) = self.older.remove_entry(key)?;
            self.put(key, value);
        }
        self.newer.get_mut(key)
    }

    /// Gives a key a value.
    pub fn put(&mut self, key: K, value: V) {
        if self.newer.len() >= self.half && !self.newer.contains_key(&key) {
            self.older = std::mem::take(&mut self.newer);
        } else {
            self.older.remove(&key);
        }
        self.newer.insert(key, value);
    }

    /// Forgets a key.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.newer.remove(key);
        self.older.remove(key);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.newer.clear();
        self.older.clear();
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Put(u8),
        Get(u8),
        Remove(u8),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u8..24).prop_map(Step::Put),
            6 => (0u8..24).prop_map(Step::Get),
            2 => (0u8..24).prop_map(Step::Remove),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        /// Beside a list of all keys, the last used first; one that was removed keeps its place without a value.
        #[test]
        fn it_is_bounded_and_holds_what_was_used_last(steps in prop::collection::vec(step(), 1..200)) {
            let (mut recent, mut used, mut value) = (Recent::new(16), Vec::<(u8, Option<usize>)>::new(), 0);
            for step in steps {
                match step {
                    Step::Put(key) => {
                        value += 1;
                        recent.put(key, value);
                        used.retain(|(other, _)| *other != key);
                        used.insert(0, (key, Some(value)));
                    }
                    Step::Get(key) => {
                        let place = used.iter().position(|(other, value)| *other == key && value.is_some());
                        match recent.get(&key).copied() {
                            Some(found) => {
                                let entry = used.remove(place.expect("nothing is there that was not put"));
                                prop_assert_eq!(Some(found), entry.1);
                                used.insert(0, entry);
                            }
                            None => prop_assert!(place.is_none_or(|place| place >= 8), "{} is gone", key),
                        }
                    }
                    Step::Remove(key) => {
                        recent.remove(&key);
                        used.iter_mut().filter(|(other, _)| *other == key).for_each(|entry| entry.1 = None);
                    }
                    Step::Clear => {
                        recent.clear();
                        used.clear();
                    }
                }
                prop_assert!(recent.len() <= 16);
            }
        }
    }
}
