//! Label strings by number, one after the other in pages.

use std::sync::Arc;

/// Bytes of a page, of a small table and of a large one; a longer string has a page of its own.
const MIN_PAGE_BYTES: usize = 1 << 10;
const MAX_PAGE_BYTES: usize = 1 << 16;
/// A length that does not fit one byte follows in five characters of seven bits.
const LONG: u8 = 127;

/// Strings by number. A clone is a snapshot that shares the pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    pages: Vec<Arc<String>>,
    /// Bytes of each page that belong to strings that live.
    live: Vec<u32>,
    free_pages: Vec<u32>,
    /// The page that grows.
    tail: Option<u32>,
    /// Page and place of each string, 16 bits each.
    places: Vec<u32>,
    live_bytes: usize,
    page_bytes: usize,
}

impl Texts {
    /// One more than the largest number.
    pub(crate) fn len(&self) -> u32 {
        self.places.len() as u32
    }

    /// The string; empty where the number has none.
    pub(crate) fn get(&self, number: u32) -> &str {
        self.places.get(number as usize).and_then(|place| self.at(*place)).unwrap_or_default()
    }

    fn at(&self, place: u32) -> Option<&str> {
        let page = self.pages.get((place >> 16) as usize)?;
        let start = (place & 0xffff) as usize;
        let bytes = page.as_bytes();
        let (length, head) = match *bytes.get(start)? {
            LONG => {
                let digits = bytes.get(start + 1..start + 6)?.iter();
                (digits.fold(0_usize, |length, digit| length << 7 | usize::from(*digit)), 6)
            }
            short => (usize::from(short), 1),
        };
        page.get(start + head..start + head + length)
    }

    /// Puts a string at a number, which must be free. `None` if four gigabytes are full.
    pub(crate) fn put(&mut self, number: u32, text: &str) -> Option<()> {
        let place = self.append(text)?;
        let at = number as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, u32::MAX);
        }
        *self.places.get_mut(at)? = place;
        Some(())
    }

    fn append(&mut self, text: &str) -> Option<u32> {
        let bytes = stored_bytes(text);
        let page_number = self.page_for(bytes)?;
        let page = Arc::get_mut(self.pages.get_mut(page_number as usize)?)?;
        let place = page_number << 16 | page.len() as u32;
        match u8::try_from(text.len()) {
            Ok(length) if length < LONG => page.push(char::from(length)),
            _ => {
                page.push(char::from(LONG));
                for shift in [28, 21, 14, 7, 0] {
                    page.push(char::from((text.len() >> shift & 0x7f) as u8));
                }
            }
        }
        page.push_str(text);
        *self.live.get_mut(page_number as usize)? += bytes as u32;
        self.live_bytes += bytes;
        Some(place)
    }

    /// A page with so much room that no snapshot shares. The page that grows is copied where one does: with a new one each
    /// time, readers that come and go while series are made would leave many pages nearly empty.
    fn page_for(&mut self, bytes: usize) -> Option<u32> {
        if let Some(tail) = self.tail
            && let Some(page) = self.pages.get_mut(tail as usize)
            && page.capacity() - page.len() >= bytes
        {
            if Arc::get_mut(page).is_none() {
                let mut own = String::with_capacity(page.capacity());
                own.push_str(page);
                *page = Arc::new(own);
            }
            return Some(tail);
        }
        let number = self.free_pages.pop().unwrap_or(self.pages.len() as u32);
        if number > u32::from(u16::MAX) {
            return None;
        }
        let page_bytes = (self.live_bytes / 8).clamp(MIN_PAGE_BYTES, MAX_PAGE_BYTES);
        let page = String::with_capacity(bytes.max(page_bytes));
        self.page_bytes += page.capacity();
        let page = Arc::new(page);
        match self.pages.get_mut(number as usize) {
            Some(slot) => *slot = page,
            None => {
                self.pages.push(page);
                self.live.push(0);
            }
        }
        self.tail = Some(number);
        Some(number)
    }

    /// Drops the string of a number.
    pub(crate) fn remove(&mut self, number: u32) {
        let Some(text) = self.places.get(number as usize).and_then(|place| self.at(*place)) else { return };
        let bytes = stored_bytes(text);
        let Some(place) = self.places.get_mut(number as usize) else { return };
        let page_number = *place >> 16;
        *place = u32::MAX;
        self.live_bytes -= bytes;
        let Some(live) = self.live.get_mut(page_number as usize) else { return };
        *live -= bytes as u32;
        if *live == 0 && self.tail != Some(page_number) {
            if let Some(page) = self.pages.get_mut(page_number as usize) {
                self.page_bytes -= page.capacity();
                *page = Arc::default();
            }
            self.free_pages.push(page_number);
        }
    }

    /// Writes what lives into new pages, if most of the pages is dead.
    pub(crate) fn compact(&mut self) {
        if self.page_bytes < 2 * self.live_bytes + 16 * MAX_PAGE_BYTES {
            return;
        }
        let mut compacted = Self::default();
        for (number, place) in (0..).zip(&self.places) {
            if let Some(text) = self.at(*place)
                && compacted.put(number, text).is_none()
            {
                return;
            }
        }
        compacted.places.resize(self.places.len(), u32::MAX);
        *self = compacted;
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.page_bytes + self.places.capacity() * 4
    }
}

/// What a string takes in a page.
pub(super) fn stored_bytes(text: &str) -> usize {
    text.len() + if text.len() < usize::from(LONG) { 1 } else { 6 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn readers_that_come_and_go_while_strings_come_in_leave_no_pages_nearly_empty() {
        let mut texts = Texts::default();
        for number in 0..1000 {
            let snapshot = texts.clone();
            texts.put(number, "value").unwrap();
            assert_eq!(snapshot.get(number), "");
        }
        assert_eq!(texts.get(0), "value");
        assert!(texts.page_bytes < 2 * texts.live_bytes, "{} bytes for {}", texts.page_bytes, texts.live_bytes);
    }

    proptest! {
        #[test]
        fn every_string_stays_at_its_number(
            steps in prop::collection::vec((0_u32..40, prop_oneof![4 => "\\PC{0,20}", 1 => "ä{100,40000}"], 0..8_u8), 0..60),
        ) {
            let mut texts = Texts::default();
            let mut expected: BTreeMap<u32, String> = BTreeMap::new();
            for (number, text, action) in steps {
                if expected.remove(&number).is_some() {
                    texts.remove(number);
                }
                let snapshot = (action == 0).then(|| texts.clone());
                if action > 1 {
                    texts.put(number, &text).unwrap();
                    expected.insert(number, text);
                } else {
                    texts.page_bytes += 1 << 30;
                    texts.compact();
                }
                for (number, text) in &expected {
                    prop_assert_eq!(texts.get(*number), text);
                    if let Some(snapshot) = &snapshot {
                        prop_assert_eq!(snapshot.get(*number), text);
                    }
                }
            }
        }
    }
}
