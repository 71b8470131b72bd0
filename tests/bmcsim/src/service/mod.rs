//! The Redfish service of one BMC.

mod gate;
mod message;
mod resources;
mod sessions;
mod systems;
mod tasks;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::bmc::Bmc;

/// Longest request body.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;

/// All routes, behind the gate that logs, injects faults and asks for credentials.
pub(crate) fn router(bmc: Arc<Bmc>) -> Router {
    let v1 = Router::new()
        .route("/", get(resources::service_root))
        .route("/SessionService", get(sessions::service))
        .route(
            "/SessionService/Sessions",
            get(sessions::list).post(sessions::create),
        )
        .route(
            "/SessionService/Sessions/{id}",
            get(sessions::read).delete(sessions::delete),
        )
        .route("/Systems", get(systems::list))
        .route("/Systems/{id}", get(systems::read).patch(systems::patch))
        .route(
            "/Systems/{id}/SD",
            get(systems::read_settings).patch(systems::patch_settings),
        )
        .route("/Systems/{id}/ResetActionInfo", get(systems::action_info))
        .route(
            "/Systems/{id}/Actions/ComputerSystem.Reset",
            post(systems::reset),
        )
        .route("/Systems/{id}/EthernetInterfaces", get(systems::nics))
        .route("/Systems/{id}/EthernetInterfaces/{nic}", get(systems::nic))
        .route("/Managers", get(resources::managers))
        .route("/Managers/{id}", get(resources::manager))
        .route("/Chassis", get(resources::chassis_list))
        .route("/Chassis/{id}", get(resources::chassis))
        .route("/TaskService", get(tasks::service))
        .route("/TaskService/Tasks/{id}", get(tasks::read))
        .route("/TaskService/TaskMonitors/{id}", get(tasks::monitor));
    Router::new()
        .route("/redfish", get(resources::versions))
        .route("/redfish/v1", get(resources::service_root))
        .nest("/redfish/v1/", v1)
        .fallback(message::not_found)
        .method_not_allowed_fallback(message::not_allowed)
        .layer(from_fn_with_state(Arc::clone(&bmc), gate::pass))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(bmc)
}
