//! A unary gRPC call at a time over HTTP/2, framed by hand: headers without compression, and of the answer whether it has
//! a message, which refusals have not.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use crate::http1::open;
use crate::{Connection, Sender};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const MAX_FRAME_BYTES: usize = 16_384;
const INITIAL_WINDOW_SETTING: u16 = 4;

pub(crate) struct Grpc {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    /// HPACK of a request's headers.
    headers: Vec<u8>,
    stream_id: u32,
    connection_window: i64,
    stream_window: i64,
    initial_window: i64,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream_id: u32,
    payload: Vec<u8>,
}

impl Grpc {
    pub(crate) fn connect(sender: &Sender) -> io::Result<Self> {
        let mut stream = open(&sender.address)?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
        let answers = BufReader::new(stream.try_clone()?);
        let own = [(":method", "POST"), (":scheme", "http"), (":path", &sender.path), (":authority", "load")];
        let mut headers = Vec::new();
        for (name, value) in own {
            literal(&mut headers, name, value);
        }
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            literal(&mut headers, name, value);
        }
        for (name, value) in &sender.headers {
            literal(&mut headers, name, value);
        }
        Ok(Self {
            stream,
            answers,
            headers,
            stream_id: 1,
            connection_window: 65_535,
            stream_window: 65_535,
            initial_window: 65_535,
        })
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.answers.read_exact(&mut head)?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.answers.read_exact(&mut payload)?;
        let read = Frame { kind, flags, stream_id: u32::from_be_bytes(id) & 0x7FFF_FFFF, payload };
        self.heed(&read)?;
        Ok(read)
    }

    fn heed(&mut self, read: &Frame) -> io::Result<()> {
        match read.kind {
            SETTINGS if read.flags & ACK == 0 => {
                for setting in read.payload.chunks_exact(6) {
                    let [a, b, value @ ..] = setting else { continue };
                    if u16::from_be_bytes([*a, *b]) == INITIAL_WINDOW_SETTING {
                        self.initial_window = i64::from(number(value));
                        self.stream_window = self.initial_window;
                    }
                }
                self.stream.write_all(&frame(SETTINGS, ACK, 0, &[]))
            }
            PING if read.flags & ACK == 0 => self.stream.write_all(&frame(PING, ACK, 0, &read.payload)),
            WINDOW_UPDATE if read.stream_id == 0 => {
                self.connection_window += i64::from(number(&read.payload));
                Ok(())
            }
            WINDOW_UPDATE if read.stream_id == self.stream_id => {
                self.stream_window += i64::from(number(&read.payload));
                Ok(())
            }
            // What we were sent is ours to give back.
            DATA if !read.payload.is_empty() => {
                let bytes = u32::try_from(read.payload.len()).unwrap_or(0).to_be_bytes();
                self.stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &bytes))
            }
            GOAWAY => Err(io::ErrorKind::ConnectionAborted.into()),
            _ => Ok(()),
        }
    }

    /// What a frame says of the call under way.
    fn verdict(&self, read: &Frame, has_message: &mut bool) -> Option<&'static str> {
        if read.stream_id != self.stream_id {
            return None;
        }
        *has_message |= read.kind == DATA;
        match read.kind {
            HEADERS | DATA if read.flags & END_STREAM != 0 => Some(if *has_message { "ok" } else { "refused" }),
            RST_STREAM => Some("reset"),
            _ => None,
        }
    }
}

impl Connection for Grpc {
    fn ask(&mut self, message: &[u8]) -> io::Result<String> {
        self.stream_window = self.initial_window;
        let mut has_message = false;
        let mut out = frame(HEADERS, END_HEADERS, self.stream_id, &self.headers);
        let mut verdict = None;
        for (place, chunk) in message.chunks(MAX_FRAME_BYTES).enumerate() {
            while verdict.is_none() && self.connection_window.min(self.stream_window) < chunk.len() as i64 {
                self.stream.write_all(&std::mem::take(&mut out))?;
                let read = self.read()?;
                verdict = self.verdict(&read, &mut has_message);
            }
            if verdict.is_some() {
                break;
            }
            let is_last = (place + 1) * MAX_FRAME_BYTES >= message.len();
            out.extend(frame(DATA, if is_last { END_STREAM } else { 0 }, self.stream_id, chunk));
            self.connection_window -= chunk.len() as i64;
            self.stream_window -= chunk.len() as i64;
        }
        self.stream.write_all(&out)?;
        let verdict = loop {
            if let Some(verdict) = verdict {
                break verdict;
            }
            let read = self.read()?;
            verdict = self.verdict(&read, &mut has_message);
        };
        self.stream_id += 2;
        Ok(verdict.to_owned())
    }
}

fn number(bytes: &[u8]) -> u32 {
    <[u8; 4]>::try_from(bytes).map_or(0, u32::from_be_bytes)
}

fn frame(kind: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    bytes.extend(stream_id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header that is neither indexed nor Huffman-coded. Names are shorter than 127 bytes.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        if text.len() < 127 {
            block.push(text.len() as u8);
        } else {
            let mut rest = text.len() - 127;
            block.push(127);
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
        block.extend(text.as_bytes());
    }
}
