//! A second descriptor of each socket of the term, so that any thread can end them all, whatever hyper or the runtime is doing.
//!
//! `connect(2)` with AF_UNSPEC resets a TCP connection at once and throws its queue away (`tcp_disconnect` in Linux). Closing does
//! neither while a second descriptor is open, and lets the kernel deliver what it holds.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::connect_unspec;

/// The sockets of one term.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    sockets: Mutex<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    severed: bool,
    next: u64,
    open: BTreeMap<u64, OwnedFd>,
}

impl Registry {
    /// Takes a socket in before it is connected. Refused once severed.
    pub(crate) fn register(self: &Arc<Self>, socket: impl AsFd) -> io::Result<Registration> {
        let copy = socket.as_fd().try_clone_to_owned()?;
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if sockets.severed {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the term's connections were severed"));
        }
        let number = sockets.next;
        sockets.next += 1;
        sockets.open.insert(number, copy);
        Ok(Registration { registry: Arc::clone(self), number })
    }

    /// Resets every socket and takes no new one. Callable from any thread; the lock is never held across a wait.
    pub(crate) fn sever(&self) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.severed = true;
        for socket in sockets.open.values() {
            reset(socket);
        }
    }

    /// Resets one socket, if it is still open.
    pub(crate) fn reset(&self, number: u64) {
        if let Some(socket) = self.sockets.lock().unwrap_or_else(PoisonError::into_inner).open.get(&number) {
            reset(socket);
        }
    }

    /// How many sockets are open.
    pub(crate) fn len(&self) -> usize {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).open.len()
    }
}

fn reset(socket: &OwnedFd) {
    if let Err(error) = connect_unspec(socket) {
        // Never seen from Linux for a TCP socket; the look at the clocks still holds.
        tracing::error!(%error, "a connection of an ended term could not be reset");
    }
}

/// Keeps a socket in the registry; goes with the stream.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    number: u64,
}

impl Registration {
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.sockets.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&self.number);
    }
}
