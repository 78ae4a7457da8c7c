//! The programs of one control plane: started in order, stopped in order, each by itself where a test wants that.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use thiserror::Error;
use tokio::net::TcpSocket;

use crate::assets::{Assets, AssetsError, Program};
use crate::audit::{self, AuditEvent, AuditLog};
use crate::builder::Builder;
use crate::certificates::{CertificateError, Certificates, Identity};
use crate::guard::Guarded;
use crate::kubeconfig::{Credential, kubeconfig};
use crate::programs::Stage;

/// An API server is ready within three seconds on an idle machine of two cores.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A program asked to end that takes longer is killed. An API server waits for what it is answering.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How often a starting or ending program is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How often running ones are.
const LOOK_AT_RUNNING: Duration = Duration::from_millis(500);

/// The group of administrators, whom RBAC does not bind.
const ADMINISTRATORS: &str = "system:masters";

/// Why a control plane, or a program of it, did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A program is not there.
    #[error(transparent)]
    Assets(#[from] AssetsError),
    /// The folder could not be used.
    #[error("cannot use {}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address could not be taken.
    #[error("cannot listen on {address}; 0 for the port takes a free one")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Keys could not be made.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// A program could not be started.
    #[error("cannot start {}", program.name())]
    Spawn {
        /// Which.
        program: Program,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ended.
    #[error("{} ended ({how}); it said last:\n{words}", program.name())]
    Ended {
        /// Which.
        program: Program,
        /// Its exit status.
        how: String,
        /// Its last lines.
        words: String,
    },
    /// The API was not ready in time.
    #[error("the API at {url} was not ready within {} s ({last}); kube-apiserver said last:\n{words}", READY_LIMIT.as_secs())]
    NotReady {
        /// Where.
        url: String,
        /// How the last look ended.
        last: String,
        /// The API server's last lines.
        words: String,
    },
    /// No client could be made for it.
    #[error("cannot make a client of the API")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A copy of etcd's data, taken while it stood still.
#[derive(Debug)]
pub struct EtcdCopy(TempDir);

/// A Kubernetes API on loopback. Dropped: its programs are killed, and its folder goes unless it was given.
#[derive(Debug)]
pub struct ControlPlane {
    assets: Assets,
    stage: Stage,
    administrator: Identity,
    audit: AuditLog,
    // Before the folder: fields are dropped in this order.
    programs: Mutex<BTreeMap<Program, Guarded>>,
    _port: TcpSocket,
    runtime: TempDir,
}

impl ControlPlane {
    /// Settings of one that runs these programs.
    pub fn builder(assets: Assets) -> Builder {
        Builder::new(assets)
    }

    pub(crate) async fn start(builder: Builder) -> Result<Self, StartError> {
        let runtime = tempfile::Builder::new().prefix("tenure-api-").tempdir();
        let runtime = runtime.map_err(|source| StartError::Folder { folder: std::env::temp_dir(), source })?;
        let folder = builder.data.clone().unwrap_or_else(|| runtime.path().to_owned());
        let cannot = |source| StartError::Folder { folder: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(cannot)?;
        let folder = folder.canonicalize().map_err(cannot)?;

        let wanted = SocketAddr::new(builder.address, builder.port);
        let (port, address) = hold(wanted).map_err(|source| StartError::Address { address: wanted, source })?;
        let certificates = Certificates::make(&folder.join("keys"), &[address.ip()])?;
        let administrator = certificates.client("administrator", Some(ADMINISTRATORS))?;
        let stage = Stage {
            folder: folder.clone(),
            sockets: runtime.path().to_owned(),
            address,
            certificates,
            controller_manager: builder.controller_manager,
            flags: builder.flags,
        };
        let audit = AuditLog::at(&stage.audit_log());
        let control_plane = Self {
            assets: builder.assets,
            stage,
            administrator,
            audit,
            programs: Mutex::default(),
            _port: port,
            runtime,
        };
        let cannot = |source| StartError::Folder { folder: folder.clone(), source };
        std::fs::write(control_plane.stage.audit_policy(), audit::POLICY).map_err(cannot)?;
        std::fs::write(control_plane.kubeconfig(), control_plane.administrators_kubeconfig()).map_err(cannot)?;
        control_plane.start_etcd()?;
        control_plane.start_api_server().await?;
        if control_plane.stage.controller_manager {
            control_plane.spawn(Program::ControllerManager)?;
        }
        Ok(control_plane)
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.stage.address
    }

    /// The API's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.stage.address)
    }

    /// Where etcd's data, keys, logs and the administrator's kubeconfig lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.stage.folder
    }

    /// The administrator's kubeconfig: a member of `system:masters`, whom RBAC does not bind.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.stage.kubeconfig()
    }

    fn administrators_kubeconfig(&self) -> String {
        self.kubeconfig_text(None, &Credential::Certificate(&self.administrator))
    }

    fn kubeconfig_text(&self, at: Option<SocketAddr>, credential: &Credential<'_>) -> String {
        let url = at.map_or_else(|| self.url(), |address| format!("https://{address}"));
        // The certificate names the API's own address, not that of whoever stands before it.
        let name = at.map(|_| "kubernetes");
        kubeconfig(&url, name, self.stage.certificates.authority_pem(), credential)
    }

    /// A kubeconfig for a user known by a client certificate. With `at`, through a proxy at that address.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn kubeconfig_of(
        &self,
        user: &str,
        group: Option<&str>,
        at: Option<SocketAddr>,
    ) -> Result<String, CertificateError> {
        let identity = self.stage.certificates.client(user, group)?;
        Ok(self.kubeconfig_text(at, &Credential::Certificate(&identity)))
    }

    /// A kubeconfig for whoever a token stands for. With `at`, through a proxy at that address.
    #[must_use]
    pub fn kubeconfig_with_token(&self, token: &str, at: Option<SocketAddr>) -> String {
        self.kubeconfig_text(at, &Credential::Token(token))
    }

    /// A client for the administrator, of the calling runtime.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub async fn client(&self) -> Result<kube::Client, StartError> {
        client_of(&self.administrators_kubeconfig()).await
    }

    /// The audit log so far, in the order of answers: requests for Events aside.
    #[must_use]
    pub fn audit(&self) -> Vec<Arc<AuditEvent>> {
        self.audit.events()
    }

    /// The log itself, for whoever reads it again and again.
    #[must_use]
    pub fn audit_log(&self) -> AuditLog {
        self.audit.clone()
    }

    /// Starts etcd, on the data there is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_etcd(&self) -> Result<(), StartError> {
        // A socket file of a process that was killed would be in the new one's way.
        for socket in ["etcd.sock", "peer.sock"] {
            let _ = std::fs::remove_file(self.runtime.path().join(socket));
        }
        self.spawn(Program::Etcd)
    }

    /// Starts the API server and waits until it is ready, at most a minute.
    ///
    /// # Errors
    /// When it ends or does not become ready.
    pub async fn start_api_server(&self) -> Result<(), StartError> {
        self.spawn(Program::ApiServer)?;
        self.ready().await
    }

    /// Waits until the API says that it is ready, at most a minute.
    ///
    /// # Errors
    /// When a program ends or the minute is over.
    pub async fn ready(&self) -> Result<(), StartError> {
        let client = self.client().await?;
        let begun = Instant::now();
        loop {
            self.look_for_the_dead()?;
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a request of constants");
            let answer = tokio::time::timeout(Duration::from_secs(2), client.request_text(request)).await;
            let last = match answer {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if begun.elapsed() > READY_LIMIT {
                let words = self.lock().get(&Program::ApiServer).map(Guarded::last_words).unwrap_or_default();
                return Err(StartError::NotReady { url: self.url(), last, words });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a program ends that was not asked to, and says how it did.
    pub async fn failed(&self) -> StartError {
        loop {
            if let Err(error) = self.look_for_the_dead() {
                return error;
            }
            tokio::time::sleep(LOOK_AT_RUNNING).await;
        }
    }

    /// Ends a program in order, killing it when it takes too long. One that does not run is left alone.
    pub async fn stop(&self, program: Program) {
        let Some(mut stopping) = self.lock().remove(&program) else { return };
        stopping.signal(Signal::CONT);
        stopping.signal(Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < STOP_LIMIT && matches!(stopping.ended(), Ok(None)) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills a program.
    pub fn kill(&self, program: Program) {
        drop(self.lock().remove(&program));
    }

    /// Stops a program where it stands (SIGSTOP), until [`resume`](Self::resume).
    pub fn pause(&self, program: Program) {
        self.signal(program, Signal::STOP);
    }

    /// Lets a paused program go on.
    pub fn resume(&self, program: Program) {
        self.signal(program, Signal::CONT);
    }

    /// The pid of a program that runs.
    #[must_use]
    pub fn pid(&self, program: Program) -> Option<Pid> {
        self.lock().get(&program).map(Guarded::pid)
    }

    /// Copies etcd's data. etcd stands still for as long as the copying takes; the API server waits for it.
    ///
    /// # Errors
    /// When the data cannot be copied or etcd not be started again.
    pub async fn copy_etcd(&self) -> Result<EtcdCopy, StartError> {
        let copy = tempfile::Builder::new().prefix("tenure-etcd-").tempdir();
        let copy = copy.map_err(|source| StartError::Folder { folder: std::env::temp_dir(), source })?;
        self.stop(Program::Etcd).await;
        copy_folder(&self.stage.etcd_data(), copy.path())?;
        self.start_etcd()?;
        self.ready().await?;
        Ok(EtcdCopy(copy))
    }

    /// Puts a copy in the place of etcd's data, with both programs stopped meanwhile, and waits until the API is ready: what an
    /// operator's restore from a snapshot does.
    ///
    /// # Errors
    /// When the data cannot be put in place or a program not be started again.
    pub async fn restore_etcd(&self, copy: &EtcdCopy) -> Result<(), StartError> {
        self.stop(Program::ApiServer).await;
        self.stop(Program::Etcd).await;
        let data = self.stage.etcd_data();
        std::fs::remove_dir_all(&data).map_err(|source| StartError::Folder { folder: data.clone(), source })?;
        copy_folder(copy.0.path(), &data)?;
        self.start_etcd()?;
        self.start_api_server().await
    }

    /// Ends everything in order.
    pub async fn end(self) {
        for program in [Program::ControllerManager, Program::ApiServer, Program::Etcd] {
            self.stop(program).await;
        }
    }

    fn signal(&self, program: Program, signal: Signal) {
        if let Some(running) = self.lock().get_mut(&program) {
            running.signal(signal);
        }
    }

    fn spawn(&self, program: Program) -> Result<(), StartError> {
        let Some(file) = self.assets.program(program) else {
            let folder = self.assets.folder().to_owned();
            return Err(AssetsError::Incomplete { folder, program: program.name() }.into());
        };
        let flags = match program {
            Program::Etcd => self.stage.etcd_flags(),
            Program::ApiServer => self.stage.api_server_flags(),
            Program::ControllerManager => self.stage.controller_manager_flags(),
        };
        let log = self.stage.folder.join(format!("{}.log", program.name()));
        // One guard cleans up; the others' programs are gone by then or die of it.
        let orphan_folder = (program == Program::Etcd).then(|| self.runtime.path());
        let started = Guarded::start(&file, &flags, &log, orphan_folder);
        let started = started.map_err(|source| StartError::Spawn { program, source })?;
        self.lock().insert(program, started);
        Ok(())
    }

    fn look_for_the_dead(&self) -> Result<(), StartError> {
        for (program, running) in self.lock().iter_mut() {
            let ended = running.ended().map_err(|source| StartError::Spawn { program: *program, source })?;
            if let Some(status) = ended {
                return Err(StartError::Ended {
                    program: *program,
                    how: status.to_string(),
                    words: running.last_words(),
                });
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Program, Guarded>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // The API server before its store, or its last seconds go into calling for it.
        let mut programs = self.lock();
        while let Some((_, program)) = programs.pop_last() {
            drop(program);
        }
    }
}

/// Takes a port without listening on it, in the way that lets the API server listen on it beside us.
fn hold(address: SocketAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

async fn client_of(kubeconfig: &str) -> Result<kube::Client, StartError> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| StartError::Client(error);
    let kubeconfig = kube::config::Kubeconfig::from_yaml(kubeconfig).map_err(|error| broken(error.into()))?;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.map_err(|error| broken(error.into()))?;
    kube::Client::try_from(config).map_err(|error| broken(error.into()))
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), StartError> {
    let copy = || -> io::Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                copy_folder(&entry.path(), &target).map_err(io::Error::other)?;
            } else {
                std::fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    };
    copy().map_err(|source| StartError::Folder { folder: to.to_owned(), source })
}
