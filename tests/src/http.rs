//! A minimal HTTP/1.1 server: blocking, one thread for each connection.
//!
//! An ordinary server in the dev profile would add a millisecond to each measured request; this one
//! adds microseconds. It also forwards messages byte by byte, so that signatures stay valid. It
//! only reads what programs of this machine send.

use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A request or a response.
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The whole message, as received.
    pub bytes: Vec<u8>,
}

impl Message {
    /// Returns `None` when the other side closed the connection instead.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut message = Self {
            start: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
            bytes: Vec::new(),
        };
        message.start = message.line(from)?;
        if message.start.is_empty() {
            return Ok(None);
        }
        loop {
            let line = message.line(from)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            let header = (name.to_ascii_lowercase(), value.trim().to_owned());
            message.headers.push(header);
        }
        if message.header("transfer-encoding") == Some("chunked") {
            while message.chunk(from)? > 0 {}
        } else if let Some(length) = message.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            message.take(from, length)?;
        }
        Ok(Some(message))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// The path of a request.
    pub fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    fn line(&mut self, from: &mut impl BufRead) -> io::Result<String> {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line)?;
        self.bytes.extend_from_slice(&line);
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn take(&mut self, from: &mut impl BufRead, length: usize) -> io::Result<()> {
        let before = self.body.len();
        self.body.resize(before + length, 0);
        from.read_exact(&mut self.body[before..])?;
        self.bytes.extend_from_slice(&self.body[before..]);
        Ok(())
    }

    fn chunk(&mut self, from: &mut impl BufRead) -> io::Result<usize> {
        let size = self.line(from)?;
        let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
        self.take(from, size)?;
        self.line(from)?;
        Ok(size)
    }
}

/// A response with a JSON body.
pub fn json(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

/// Answers requests until the process ends. When `answer` fails, the connection is closed without a
/// response, which the client reports.
pub fn serve<F>(listener: TcpListener, answer: F)
where
    F: Fn(&Message) -> io::Result<Vec<u8>> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || converse(connection, &*answer));
        }
    });
}

fn converse(
    connection: TcpStream,
    answer: &impl Fn(&Message) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut writer = connection;
    while let Some(request) = Message::read(&mut reader)? {
        writer.write_all(&answer(&request)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_either_framing_are_read_and_kept_byte_by_byte() {
        let plain = "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                       1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        for text in [plain, chunked] {
            let mut both = format!("{text}{text}").into_bytes();
            let mut reader = both.as_mut_slice() as &[u8];
            for _ in 0..2 {
                let message = Message::read(&mut reader).unwrap().unwrap();
                assert_eq!(message.body, b"{}");
                assert_eq!(message.bytes, text.as_bytes());
            }
            assert!(Message::read(&mut reader).unwrap().is_none());
        }
    }

    #[test]
    fn truncated_message_is_an_error() {
        let mut cut = "POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n{}".as_bytes();
        assert!(Message::read(&mut cut).is_err());
    }
}
