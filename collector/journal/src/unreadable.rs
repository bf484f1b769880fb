//! Files on a disk that no longer gives back all of them: what can be read is read, the rest stands as zeros, which no
//! record's checksum takes for its own.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What a disk loses at a time, at least.
const BLOCK_BYTES: usize = 4096;
/// Linux's error numbers of a medium that failed and of a file system that found itself damaged.
const EIO: i32 = 5;
const EUCLEAN: i32 = 117;

/// Whether an error tells of the medium, rather than of rights, limits or names.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EIO | EUCLEAN))
}

/// Bytes of a file, and which of them could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) unreadable: Vec<Range<usize>>,
}

/// Reads a piece of a file that has at least that much.
pub(crate) fn read_around(file: &File, offset: u64, length: usize) -> io::Result<Content> {
    let first_block = BLOCK_BYTES - (offset % BLOCK_BYTES as u64) as usize;
    read_with(length, first_block, |bytes, at| file.read_exact_at(bytes, offset + at as u64))
}

/// `first_block`: where the first block of the disk ends.
fn read_with(
    length: usize,
    first_block: usize,
    mut read: impl FnMut(&mut [u8], usize) -> io::Result<()>,
) -> io::Result<Content> {
    let mut content = Content { bytes: vec![0; length], unreadable: Vec::new() };
    match read(&mut content.bytes, 0) {
        Err(error) if is_unreadable(&error) => {}
        whole => return whole.map(|()| content),
    }
    let (head, tail) = content.bytes.split_at_mut(first_block.min(length));
    let mut end = 0;
    for block in std::iter::once(head).chain(tail.chunks_mut(BLOCK_BYTES)) {
        let at = end;
        end += block.len();
        match read(block, at) {
            Ok(()) => {}
            Err(error) if is_unreadable(&error) => {
                block.fill(0);
                match content.unreadable.last_mut().filter(|last| last.end == at) {
                    Some(last) => last.end += block.len(),
                    None => content.unreadable.push(at..at + block.len()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_fail_are_left_out_and_all_others_read() {
        let disk: Vec<u8> = (0..10 * BLOCK_BYTES + 7).map(|at| (at % 251) as u8).collect();
        let bad = 2 * BLOCK_BYTES + 5..4 * BLOCK_BYTES;
        let read = |bytes: &mut [u8], at: usize| {
            if at < bad.end && bad.start < at + bytes.len() {
                return Err(io::Error::from_raw_os_error(EIO));
            }
            bytes.copy_from_slice(&disk[at..at + bytes.len()]);
            Ok(())
        };
        let content = read_with(disk.len(), BLOCK_BYTES, read).unwrap();
        let lost = 2 * BLOCK_BYTES..4 * BLOCK_BYTES;
        assert_eq!(content.unreadable, vec![2 * BLOCK_BYTES..4 * BLOCK_BYTES]);
        assert!(content.bytes[lost.clone()].iter().all(|byte| *byte == 0));
        assert_eq!(content.bytes[..lost.start], disk[..lost.start]);
        assert_eq!(content.bytes[lost.end..], disk[lost.end..]);
    }

    #[test]
    fn other_errors_stay_errors() {
        let denied = |_: &mut [u8], _: usize| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(read_with(1, BLOCK_BYTES, denied).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
