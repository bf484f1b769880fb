//! HTTP/1: a request is written as it stands, of the answer the status is read and the rest is passed over.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::{Connection, Sender};

pub(crate) struct Http1 {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    address: String,
    is_over: bool,
}

impl Http1 {
    pub(crate) fn connect(sender: &Sender) -> io::Result<Self> {
        let stream = open(&sender.address)?;
        let answers = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, answers, address: sender.address.clone(), is_over: false })
    }
}

pub(crate) fn open(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

impl Connection for Http1 {
    fn ask(&mut self, request: &[u8]) -> io::Result<String> {
        if self.is_over {
            self.stream = open(&self.address)?;
            self.answers = BufReader::new(self.stream.try_clone()?);
            self.is_over = false;
        }
        // Who is refused early may not be read to the end; the answer is there all the same.
        let written = self.stream.write_all(request);
        let status = self.answer();
        self.is_over |= written.is_err();
        status
    }
}

impl Http1 {
    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let status = line.split(' ').nth(1).ok_or(io::ErrorKind::UnexpectedEof)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            self.answers.read_line(&mut header)?;
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            match header.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().unwrap_or(0),
                Some(("connection", value)) => self.is_over |= value.trim() == "close",
                _ => {}
            }
        }
        io::copy(&mut self.answers.by_ref().take(length), &mut io::sink())?;
        Ok(status)
    }
}
