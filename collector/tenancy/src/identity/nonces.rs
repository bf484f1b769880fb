//! The nonces of proofs that counted, so that each counts once: in memory, and in a file for the next start.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tenantscope_model::AccountId;

/// Nonces that are remembered; a fleet of 6,000 accounts needs a tenth of them.
const MAX_NONCES: usize = 1 << 18;
/// Those of one account: none can fill the memory alone, so that nobody else's proof would count.
const MAX_OF_ACCOUNT: usize = MAX_NONCES / 32;
/// Lines of the file beyond those that still count, before it is written anew.
const MAX_SPENT_LINES: usize = 4096;
/// What a file begins with.
const FIRST_LINE: &str = "tenantscope-nonces 1";

type Digest = [u8; 16];

/// Nonces that were taken. One for the program's life, whatever is reloaded.
#[derive(Debug)]
pub(crate) struct Nonces(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    nonces: HashMap<Digest, Nonce>,
    by_end: BTreeSet<(i64, Digest)>,
    /// How many are remembered of each account since the start.
    of_accounts: HashMap<AccountId, usize>,
    kept: Option<Kept>,
}

#[derive(Debug, Clone, Copy)]
struct Nonce {
    until_ms: i64,
    /// Whose proof counted; absent while STS is asked, and of an earlier start.
    account: Option<AccountId>,
}

/// The file: a line for each nonce of an accepted proof, `<until_ms> <digest>`. A line that can't be read is passed over,
/// as the last one after a kill may be. Not fsynced: after a power cut, proofs of the last seconds may count again.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: File,
    lines: usize,
}

/// Why a nonce can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// It was taken before.
    Before,
    /// More are remembered than there is room for.
    Full,
}

/// Why a nonce is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    #[error("{MAX_OF_ACCOUNT} proofs of the account counted lately")]
    TooMany,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Nonces {
    /// In memory alone.
    pub(crate) fn in_memory() -> Self {
        Self(Mutex::default())
    }

    /// With what an earlier start took and still counts. Blocks on the file.
    pub(crate) fn open(path: &Path, now_ms: i64) -> io::Result<Self> {
        let mut taken = Taken::default();
        match File::open(path) {
            Ok(file) => taken.load(file, now_ms)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        taken.write_anew(path)?;
        Ok(Self(Mutex::new(taken)))
    }

    /// Takes a nonce that counts until then. It is to be kept or given back.
    pub(crate) fn take(&self, nonce: &str, until_ms: i64, now_ms: i64) -> Result<(), NotTaken> {
        let mut taken = self.0.lock();
        taken.forget(now_ms);
        let digest = digest(nonce);
        if taken.nonces.contains_key(&digest) {
            return Err(NotTaken::Before);
        }
        // Forgetting one of those that still count would let it count again.
        if taken.nonces.len() >= MAX_NONCES {
            return Err(NotTaken::Full);
        }
        taken.insert(digest, until_ms);
        Ok(())
    }

    /// Its proof counts for the account: it stays taken over a restart.
    pub(crate) fn keep(&self, nonce: &str, account: AccountId) -> Result<(), NotKept> {
        self.0.lock().keep(digest(nonce), account)
    }

    /// Its proof did not count: nobody without credentials can fill the memory.
    pub(crate) fn give_back(&self, nonce: &str) {
        self.0.lock().remove(digest(nonce));
    }
}

impl Taken {
    fn insert(&mut self, digest: Digest, until_ms: i64) {
        self.nonces.insert(digest, Nonce { until_ms, account: None });
        self.by_end.insert((until_ms, digest));
    }

    fn remove(&mut self, digest: Digest) {
        let Some(Nonce { until_ms, account }) = self.nonces.remove(&digest) else { return };
        self.by_end.remove(&(until_ms, digest));
        let Some(account) = account else { return };
        let left = self.of_accounts.get(&account).map_or(0, |count| count - 1);
        match left {
            0 => self.of_accounts.remove(&account),
            left => self.of_accounts.insert(account, left),
        };
    }

    fn forget(&mut self, now_ms: i64) {
        while let Some((_, digest)) = self.by_end.first().copied().filter(|(until_ms, _)| *until_ms < now_ms) {
            self.remove(digest);
        }
    }

    fn load(&mut self, file: File, now_ms: i64) -> io::Result<()> {
        let mut lines = BufReader::new(file).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        if !first.is_empty() && first != FIRST_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it does not begin with {FIRST_LINE:?}")));
        }
        for line in lines {
            if let Some((until_ms, digest)) = read_line(&line?).filter(|(until_ms, _)| *until_ms >= now_ms) {
                self.insert(digest, until_ms);
            }
            if self.nonces.len() == MAX_NONCES {
                break;
            }
        }
        Ok(())
    }

    fn keep(&mut self, digest: Digest, account: AccountId) -> Result<(), NotKept> {
        let Some(nonce) = self.nonces.get_mut(&digest) else { return Ok(()) };
        let of_account = self.of_accounts.entry(account).or_default();
        if *of_account >= MAX_OF_ACCOUNT {
            return Err(NotKept::TooMany);
        }
        *of_account += 1;
        nonce.account = Some(account);
        let until_ms = nonce.until_ms;
        let Some(kept) = &mut self.kept else { return Ok(()) };
        writeln!(kept.file, "{until_ms} {}", hex::encode(digest))?;
        kept.lines += 1;
        if kept.lines > self.nonces.len() + MAX_SPENT_LINES {
            let path = kept.path.clone();
            self.write_anew(&path)?;
        }
        Ok(())
    }

    fn write_anew(&mut self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension("nonces.tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        let mut text = format!("{FIRST_LINE}\n");
        for (until_ms, digest) in &self.by_end {
            text.push_str(&format!("{until_ms} {}\n", hex::encode(digest)));
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        self.kept = Some(Kept { path: path.to_owned(), file, lines: self.by_end.len() });
        Ok(())
    }
}

fn digest(nonce: &str) -> Digest {
    let whole: [u8; 32] = Sha256::digest(nonce.as_bytes()).into();
    let mut half = Digest::default();
    half.copy_from_slice(&whole[..16]);
    half
}

fn read_line(line: &str) -> Option<(i64, Digest)> {
    let (until_ms, digits) = line.split_once(' ')?;
    let mut digest = Digest::default();
    hex::decode_to_slice(digits, &mut digest).ok()?;
    Some((until_ms.parse().ok()?, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> AccountId {
        AccountId::try_new(text).unwrap()
    }

    #[test]
    fn a_nonce_is_taken_once_and_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.nonces");
        let nonces = Nonces::open(&path, 0).unwrap();
        assert_eq!(nonces.take("a", 100, 0), Ok(()));
        nonces.keep("a", account("111122223333")).unwrap();
        assert_eq!(nonces.take("a", 100, 100), Err(NotTaken::Before));
        nonces.take("b", 100, 0).unwrap();
        nonces.give_back("b");
        nonces.take("c", 100, 0).unwrap();
        drop(nonces);

        // The last line of a program that was killed.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"100 0011").unwrap();
        let reopened = Nonces::open(&path, 50).unwrap();
        assert_eq!(reopened.take("a", 100, 50), Err(NotTaken::Before));
        assert_eq!((reopened.take("b", 100, 50), reopened.take("c", 100, 50)), (Ok(()), Ok(())));
        assert_eq!(reopened.take("a", 300, 101), Ok(()), "its time is over");
    }

    #[test]
    fn the_file_stays_as_small_as_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.nonces");
        let nonces = Nonces::open(&path, 0).unwrap();
        for second in 0..20_000 {
            let nonce = second.to_string();
            nonces.take(&nonce, second, second).unwrap();
            nonces.keep(&nonce, account("111122223333")).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap().lines().count() < 2 * MAX_SPENT_LINES);
        fs::write(&path, "something else\n").unwrap();
        assert!(Nonces::open(&path, 0).is_err());
    }

    #[test]
    fn one_account_leaves_room_for_the_others() {
        let nonces = Nonces::in_memory();
        let (flooding, other) = (account("111122223333"), account("444455556666"));
        for i in 0..MAX_OF_ACCOUNT {
            nonces.take(&i.to_string(), 10, 0).unwrap();
            nonces.keep(&i.to_string(), flooding).unwrap();
        }
        let prove = |nonce: &str, account, now_ms| {
            nonces.take(nonce, 20, now_ms).unwrap();
            nonces.keep(nonce, account).inspect_err(|_| nonces.give_back(nonce))
        };
        for _ in 0..2 {
            assert!(matches!(prove("one more", flooding, 0), Err(NotKept::TooMany)));
        }
        assert!(prove("another's", other, 0).is_ok());
        assert!(prove("one more", flooding, 11).is_ok(), "the first ones' time is over");
        assert_eq!(nonces.0.lock().of_accounts, HashMap::from([(flooding, 1), (other, 1)]));
    }

    #[test]
    fn what_still_counts_is_never_forgotten_for_want_of_room() {
        let nonces = Nonces::in_memory();
        for i in 0..MAX_NONCES {
            nonces.take(&i.to_string(), 10, 0).unwrap();
        }
        assert_eq!(nonces.take("one more", 10, 0), Err(NotTaken::Full));
        assert_eq!(nonces.take("0", 10, 0), Err(NotTaken::Before));
        assert_eq!(nonces.take("one more", 20, 11), Ok(()));
    }
}
