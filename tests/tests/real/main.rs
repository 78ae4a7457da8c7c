//! The whole host on a real API server, judged by its audit log. One server for all tests of this binary, but for those that
//! stop it or change it.

mod account;
mod api_tier;
mod chart;
mod components;
mod faults;
mod fence;
mod languages;
mod lifecycle;
mod object_fence;
mod rbac;
