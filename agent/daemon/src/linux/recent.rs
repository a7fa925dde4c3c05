//! The last few answers by what they answer: the same content of the kernel has the same listing.

/// Answers by their key, the latest last, bounded in bytes.
#[derive(Debug)]
pub(super) struct Recent<K> {
    kept: Vec<(K, Vec<u8>)>,
    bytes: usize,
}

impl<K: PartialEq> Recent<K> {
    /// None yet; at most so many bytes of answers.
    pub(super) fn new(bytes: usize) -> Self {
        Self { kept: Vec::new(), bytes }
    }

    /// The answer to this key.
    pub(super) fn get(&mut self, key: &K) -> Option<Vec<u8>> {
        let at = self.kept.iter().position(|(k, _)| k == key)?;
        let found = self.kept.remove(at);
        let answer = found.1.clone();
        self.kept.push(found);
        Some(answer)
    }

    /// Keeps an answer; the oldest go when there is no room. One that is too large alone is not kept.
    pub(super) fn put(&mut self, key: K, answer: Vec<u8>) {
        self.kept.retain(|(k, _)| *k != key);
        self.kept.push((key, answer));
        let mut size: usize = self.kept.iter().map(|(_, a)| a.len()).sum();
        let mut gone = 0;
        for (_, answer) in &self.kept {
            if size <= self.bytes {
                break;
            }
            size -= answer.len();
            gone += 1;
        }
        self.kept.drain(..gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let mut recent = Recent::new(10);
        recent.put('a', vec![1; 4]);
        recent.put('b', vec![2; 4]);
        assert_eq!(recent.get(&'a'), Some(vec![1; 4]));
        recent.put('c', vec![3; 4]);
        assert_eq!(
            (recent.get(&'b'), recent.get(&'a'), recent.get(&'c')),
            (None, Some(vec![1; 4]), Some(vec![3; 4]))
        );
        recent.put('d', vec![4; 11]);
        assert_eq!(recent.get(&'d'), None);
    }
}
