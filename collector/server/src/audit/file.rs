//! The file of the audit log: appended to, exchanged for a new one when it is large or old, older ones deleted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use prometheus::{IntCounter, Opts};
use tenantscope_journal::make_folder;

use super::AuditConfig;

static LOST: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let help = "Lines of the audit log that could not be written, or came faster than the disk takes them.";
    let counter = IntCounter::with_opts(Opts::new("tenantscope_server_audit_lost_total", help)).ok()?;
    prometheus::register(Box::new(counter.clone())).ok();
    Some(counter)
});

/// Counts lines that are lost.
pub(super) fn lost(lines: u64) {
    if let Some(counter) = &*LOST {
        counter.inc_by(lines);
    }
}

/// The open file.
pub(super) struct Lines {
    path: PathBuf,
    file: File,
    bytes: u64,
    began: SystemTime,
    max_bytes: u64,
    max_files: usize,
    max_age: Duration,
    /// Lines since the last fsync.
    unsynced: u64,
    is_broken: bool,
}

impl Lines {
    /// Opens or makes it, and looks that an older file is not kept too long.
    pub(super) fn open(path: &Path, config: &AuditConfig) -> io::Result<Self> {
        lost(0);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_folder(folder)?;
        }
        let file = appended(path)?;
        let bytes = end_last_line(&file, path)?;
        let began = first_line_at(path).unwrap_or_else(SystemTime::now);
        let lines = Self {
            path: path.to_owned(),
            file,
            bytes,
            began,
            max_bytes: config.max_bytes.0.max(1),
            max_files: config.max_files,
            max_age: config.max_age.0,
            unsynced: 0,
            is_broken: false,
        };
        lines.delete_old();
        Ok(lines)
    }

    /// Appends a line; it is on the disk after [`Lines::sync`].
    pub(super) fn append(&mut self, line: &str) {
        let bytes = line.len() as u64 + 1;
        let is_old = self.began.elapsed().is_ok_and(|age| age > self.max_age / 10);
        if self.bytes > 0 && (self.bytes + bytes > self.max_bytes || is_old) {
            self.sync();
            if let Err(error) = self.exchange() {
                tracing::error!(path = %self.path.display(), %error, "audit log could not be exchanged, it goes on in the old file");
            }
        }
        // In one write, so that a kill leaves no half line before a whole one.
        match self.file.write_all(format!("{line}\n").as_bytes()) {
            Ok(()) => {
                self.bytes += bytes;
                self.unsynced += 1;
            }
            Err(error) => self.tell(&error, 1),
        }
    }

    /// Brings what was appended to the disk.
    pub(super) fn sync(&mut self) {
        if self.unsynced == 0 {
            return;
        }
        match self.file.sync_data() {
            Ok(()) => self.is_broken = false,
            Err(error) => self.tell(&error, self.unsynced),
        }
        self.unsynced = 0;
    }

    /// Once, until it works again.
    fn tell(&mut self, error: &io::Error, lines: u64) {
        lost(lines);
        if !std::mem::replace(&mut self.is_broken, true) {
            tracing::error!(path = %self.path.display(), %error, "audit log could not be written");
        }
    }

    fn exchange(&mut self) -> io::Result<()> {
        let at = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ").to_string();
        std::fs::rename(&self.path, self.path.with_file_name(format!("{}-{at}.jsonl", self.stem())))?;
        self.file = appended(&self.path)?;
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        (self.bytes, self.began) = (0, SystemTime::now());
        self.delete_old();
        Ok(())
    }

    fn stem(&self) -> String {
        self.path.file_stem().map_or_else(|| "audit".to_owned(), |stem| stem.to_string_lossy().into_owned())
    }

    /// Deletes older files that are too many or too old.
    fn delete_old(&self) {
        let prefix = format!("{}-", self.stem());
        let Some(entries) = self.path.parent().and_then(|folder| std::fs::read_dir(folder).ok()) else { return };
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.strip_prefix(&prefix)
                .is_some_and(|rest| rest.ends_with("Z.jsonl") && rest.starts_with(char::is_numeric))
        };
        let mut old: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_ours).collect();
        // Their names sort by time, the newest last.
        old.sort();
        let too_many = old.len().saturating_sub(self.max_files);
        let is_too_old = |path: &PathBuf| {
            let changed = std::fs::metadata(path).and_then(|about| about.modified()).ok();
            changed.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > self.max_age)
        };
        for (n, path) in old.iter().enumerate() {
            if (n < too_many || is_too_old(path))
                && let Err(error) = std::fs::remove_file(path)
            {
                tracing::warn!(path = %path.display(), %error, "old audit log could not be deleted");
            }
        }
    }
}

fn appended(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// A line that a kill or a full disk cut off gets an end, so that the next one is whole. Says how large the file is.
fn end_last_line(mut file: &File, path: &Path) -> io::Result<u64> {
    use std::io::{Read as _, Seek as _, SeekFrom};

    let mut reader = File::open(path)?;
    let bytes = reader.metadata()?.len();
    if bytes == 0 {
        return Ok(0);
    }
    let mut last = [0];
    reader.seek(SeekFrom::End(-1))?;
    reader.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(bytes);
    }
    file.write_all(b"\n")?;
    Ok(bytes + 1)
}

/// When the first line was written.
fn first_line_at(path: &Path) -> Option<SystemTime> {
    use std::io::{BufRead as _, BufReader, Read as _};

    let mut line = String::new();
    BufReader::new(File::open(path).ok()?.take(64 << 10)).read_line(&mut line).ok()?;
    let line: serde_json::Value = serde_json::from_str(&line).ok()?;
    let at: jiff::Timestamp = line.get("time")?.as_str()?.parse().ok()?;
    Some(at.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantscope_model::{Bytes, TimeSpan};

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_bounded_in_bytes_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let config = AuditConfig { max_bytes: Bytes(100), max_files: 2, ..AuditConfig::default() };
        let mut lines = Lines::open(&path, &config).unwrap();
        for n in 0..20 {
            lines.append(&format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(30)));
            lines.sync();
        }
        let names = files(folder.path());
        assert_eq!(names.len(), 3, "{names:?}");
        let all: String = names.iter().map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap()).collect();
        assert!(all.contains("\"n\":19,") && !all.contains("\"n\":1,"));
        assert!(names.iter().all(|name| std::fs::metadata(folder.path().join(name)).unwrap().len() <= 100));
    }

    #[test]
    fn a_start_appends_after_a_line_that_was_cut_off_and_exchanges_a_file_that_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "{\"time\":\"2020-01-01T00:00:00Z\"}\n{\"ti").unwrap();
        let config = AuditConfig { max_age: TimeSpan::from_secs(86_400 * 36_500), ..AuditConfig::default() };
        Lines::open(&path, &config).unwrap().append("{}");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("{\"ti\n{}\n"));
        Lines::open(&path, &AuditConfig::default()).unwrap().append("{\"new\":1}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"new\":1}\n");
        assert_eq!(files(folder.path()).len(), 2);
    }
}
