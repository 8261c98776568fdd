//! A socket that gives up on a peer that does not read: what waits to be written is memory that a stranger holds.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream whose writes fail with `TimedOut` when the peer takes nothing for `patience`, or too little for longer.
///
/// Waiting uses the patience up, and every byte that is taken gives some back: whoever takes `rate` bytes a second or more
/// is waited for as long as it lasts, and whoever takes a byte now and then is not.
#[derive(Debug)]
pub struct Stall<S> {
    inner: S,
    patience: Duration,
    rate: u32,
    /// What is left of the patience.
    left: Duration,
    waiting: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<S> Stall<S> {
    /// Around a stream; `rate` is in bytes a second.
    pub fn new(inner: S, patience: Duration, rate: u32) -> Self {
        let timer = Box::pin(sleep(patience));
        Self { inner, patience, rate: rate.max(1), left: patience, waiting: None, timer }
    }

    /// The result of a write that took so many bytes.
    fn timed<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = result {
            if let Some(since) = self.waiting.take() {
                self.left = self.left.saturating_sub(since.elapsed());
            }
            let taken = result.as_ref().map_or(0, bytes);
            let earned = Duration::from_secs_f64(taken as f64 / f64::from(self.rate));
            self.left = (self.left + earned).min(self.patience);
            return Poll::Ready(result);
        }
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            let end = now + self.left;
            self.timer.as_mut().reset(end);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stall<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stall<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.timed(cx, result, |n| *n)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.timed(cx, result, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.timed(cx, result, |()| 0)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.timed(cx, result, |n| *n)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (ours, mut theirs) = duplex(8);
        let mut ours = Stall::new(ours, Duration::from_millis(20), 1 << 20);
        ours.write_all(b"12345678").await.unwrap();
        let mut eight = [0; 8];
        theirs.read_exact(&mut eight).await.unwrap();
        let error = ours.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// A reader who takes eight bytes at a time, every so many milliseconds; whether 2,000 bytes reached it in the end.
    async fn read_by(every: u64) -> io::Result<()> {
        let (ours, mut theirs) = duplex(8);
        let mut ours = Stall::new(ours, Duration::from_millis(200), 400);
        tokio::spawn(async move {
            let mut eight = [0; 8];
            while theirs.read_exact(&mut eight).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(every)).await;
            }
        });
        ours.write_all(&[0; 2000]).await
    }

    #[tokio::test]
    async fn a_peer_that_takes_a_byte_now_and_then_is_given_up_too() {
        // 8 bytes in 100 ms are a fifth of the rate, and no pause is as long as the patience.
        assert_eq!(read_by(100).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // 8 bytes in some 2 ms are ten times the rate.
        read_by(1).await.unwrap();
    }
}
