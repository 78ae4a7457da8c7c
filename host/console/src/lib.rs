//! What a replica shows of itself over HTTP: probes, metrics and its status as JSON.
//!
//! Owns the listener's limits, the names of the metrics and the types of the status, which `tenure status` reads back.
//! Learns everything through [`View`] and [`Metrics`]: never sees kube, the election or the sandbox, decides nothing and
//! changes nothing.
//!
//! | path | answers |
//! |---|---|
//! | `/healthz`, `/livez` | 200, or 500 when a restart would help: a leader that is stuck |
//! | `/readyz` | 200 once the replica could lead; a standby is ready |
//! | `/metrics` | OpenMetrics, under controller-runtime's and client-go's names where they have one |
//! | `/status` | [`Status`] as JSON |

mod metrics;
mod server;
mod status;

pub use metrics::{CallResult, HostFunction, Limit, LockMetrics, Metrics, PluginMetrics, ReconcileResult, WriteFate};
pub use server::{Health, Readiness, View, router, serve};
pub use status::{
    GrantedBy, LastResult, LockStatus, PluginState, PluginStatus, Replica, Role, STATUS_VERSION, SettingsState, Status,
};
