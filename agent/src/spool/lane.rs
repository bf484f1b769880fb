use tenantscope_journal::{Cursor, Journal, Reader};
use tenantscope_model::Signal;

use super::record::{self, Batch};
use super::{Move, SpoolError};

/// One signal's batches in order. The other signals' records are passed over.
pub struct Lane {
    signal: Signal,
    reader: Reader,
    cursor: Cursor,
    /// The last record that was passed over since the last batch.
    passed: u64,
}

/// A batch with its place in the lane.
#[derive(Debug, Clone)]
pub struct Spooled {
    /// Its record's position: the sequence in the lane.
    pub sequence: u64,
    /// The batch.
    pub batch: Batch,
    /// What it moves.
    pub moves: Vec<Move>,
}

impl Lane {
    pub(super) fn open(journal: &Journal, signal: Signal) -> Result<Self, SpoolError> {
        let cursor = journal.cursor(signal.as_str(), 0)?;
        let position = cursor.position();
        Ok(Self { signal, reader: journal.reader(position), cursor, passed: position })
    }

    /// The lane's signal.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The next batch; none when all were read. Blocks on the disk only.
    ///
    /// A record that cannot be decoded is logged and passed over: it cannot be delivered ever.
    pub fn next_batch(&mut self) -> Result<Option<Spooled>, SpoolError> {
        while let Some(found) = self.reader.next_record()? {
            let sequence = found.position;
            match record::decode(found.bytes) {
                Ok((batch, moves)) if batch.signal == self.signal => {
                    return Ok(Some(Spooled { sequence, batch, moves }));
                }
                Ok(_) => {}
                Err(error) => tracing::error!(sequence, %error, "spool record cannot be read"),
            }
            self.passed = sequence;
        }
        // Nothing of this signal is left up to here: do not hold the others' records.
        self.cursor.advance(self.passed)?;
        Ok(None)
    }

    /// Everything up to this batch has been dealt with. Blocks.
    pub fn done(&mut self, sequence: u64) -> Result<(), SpoolError> {
        self.passed = self.passed.max(sequence);
        Ok(self.cursor.advance(sequence)?)
    }

    /// The last record that this lane has dealt with.
    pub fn position(&self) -> u64 {
        self.cursor.position().max(self.passed)
    }
}
