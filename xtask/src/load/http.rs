//! Enough of HTTP/1.1 to be every kind of client: one request a connection, which may be dropped at any moment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// Where the service is and what it wants to be shown.
#[derive(Clone, Debug)]
pub struct Service {
    /// Such as `127.0.0.1:8484`.
    pub addr: String,
    /// The token, if it has one.
    pub token: Option<String>,
}

/// The head of an answer, and its body as it comes.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
    body: BufReader<TcpStream>,
    length: Option<usize>,
    chunked: bool,
    left: usize,
}

impl Service {
    /// Sends a request without waiting for the answer.
    pub fn send(&self, method: &str, path: &str, body: Option<&[u8]>) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.addr).with_context(|| format!("cannot reach {}", self.addr))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        stream.set_nodelay(true)?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.addr);
        if let Some(token) = &self.token {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        if let Some(body) = body {
            head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        stream.write_all(&[head.as_bytes(), b"\r\n", body.unwrap_or_default()].concat())?;
        Ok(stream)
    }

    /// Sends a request and reads the head of its answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&[u8]>) -> anyhow::Result<Answer> {
        Answer::read(self.send(method, path, body)?).with_context(|| format!("{method} {path}"))
    }

    /// The JSON at a path; anything but 200 is an error.
    pub fn json(&self, path: &str) -> anyhow::Result<Value> {
        self.ask("GET", path, None)?.expect(200)?.json().with_context(|| format!("GET {path}"))
    }

    /// A figure of `/metrics`, 0 where there is none of this name.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = String::from_utf8(self.ask("GET", "/metrics", None)?.bytes()?)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.and_then(|value| value.split(' ').next()?.parse().ok()).unwrap_or(0.0))
    }
}

impl Answer {
    fn read(stream: TcpStream) -> anyhow::Result<Self> {
        let mut body = BufReader::new(stream);
        let mut line = String::new();
        body.read_line(&mut line).context("no answer")?;
        let status =
            line.split(' ').nth(1).and_then(|s| s.parse().ok()).with_context(|| format!("no status: {line:?}"))?;
        let (mut retry_after, mut length, mut chunked) = (None, None, false);
        loop {
            line.clear();
            if body.read_line(&mut line)? == 0 {
                bail!("the head breaks off");
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("retry-after", value) => retry_after = value.parse().ok(),
                ("content-length", value) => length = value.parse().ok(),
                ("transfer-encoding", value) => chunked = value == "chunked",
                _ => {}
            }
        }
        Ok(Self { status, retry_after, body, length, chunked, left: 0 })
    }

    /// The answer if it has this status; otherwise an error that says what it has, and the body.
    pub fn expect(self, status: u16) -> anyhow::Result<Self> {
        if self.status == status {
            return Ok(self);
        }
        let found = self.status;
        bail!("{found} instead of {status}: {:.500}", String::from_utf8_lossy(&self.bytes()?))
    }

    /// The whole body.
    pub fn bytes(mut self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match (self.chunked, self.length) {
            (true, _) => {
                while let Some(line) = self.line()? {
                    bytes.extend_from_slice(&line);
                }
            }
            (false, Some(length)) => {
                bytes.resize(length, 0);
                self.body.read_exact(&mut bytes).context("the body breaks off")?;
            }
            (false, None) => drop(self.body.read_to_end(&mut bytes)?),
        }
        Ok(bytes)
    }

    /// The body as JSON.
    pub fn json(self) -> anyhow::Result<Value> {
        let bytes = self.bytes()?;
        serde_json::from_slice(&bytes).with_context(|| format!("no JSON: {:.200}", String::from_utf8_lossy(&bytes)))
    }

    /// The next line of a chunked body with its end, or what there is of it at the end of a chunk; `None` at the end of the body.
    pub fn line(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        if self.left == 0 {
            let mut size = String::new();
            self.body.read_line(&mut size).context("the stream breaks off")?;
            if size == "\r\n" {
                size.clear();
                self.body.read_line(&mut size)?;
            }
            let digits = size.trim_end().split(';').next().unwrap_or_default();
            self.left =
                usize::from_str_radix(digits, 16).with_context(|| format!("the stream breaks off: {size:?}"))?;
            if self.left == 0 {
                return Ok(None);
            }
        }
        let mut line = Vec::new();
        let read = (&mut self.body).take(self.left as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            bail!("the stream breaks off within a chunk");
        }
        self.left -= read;
        Ok(Some(line))
    }
}

/// What base64 stands for.
pub fn base64(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes().map(|byte| {
        Ok(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("no base64: byte {byte}"),
        })
    });
    let digits = digits.collect::<anyhow::Result<Vec<u8>>>()?;
    let whole = digits.chunks(4).flat_map(|four| {
        let bits = four.iter().enumerate().fold(0u32, |bits, (k, digit)| bits | u32::from(*digit) << (18 - 6 * k));
        let [_, bytes @ ..] = bits.to_be_bytes();
        bytes.into_iter().take(four.len().saturating_sub(1))
    });
    Ok(whole.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn base64_as_in_its_rfc() {
        // RFC 4648, section 10.
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
        assert!(base64("Zm9v\n").is_err());
    }

    #[test]
    fn reads_lengths_and_chunks() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Service { addr: listener.local_addr().unwrap().to_string(), token: None };
        let answers = [
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[1,\n2\r\n1\r\n]\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[1,",
        ];
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1000]).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let full = service.ask("GET", "/", None).unwrap();
        assert_eq!((full.status, full.retry_after), (429, Some(7)));
        assert_eq!(full.json().unwrap(), serde_json::json!({}));
        assert_eq!(service.json("/").unwrap(), serde_json::json!([1, 2]));
        assert!(service.json("/").is_err(), "half a chunk is no body");
        server.join().unwrap();
    }
}
