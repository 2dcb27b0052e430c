//! A launched gateway in memory whose approval window is open, and browsers that ask it.

use std::time::Duration;

use openclaw_pipeline::domain::{EventType, FailureKind, OperationKind};
use openclaw_pipeline::exec::wait;
use openclaw_pipeline::gateway::Pairing;
use openclaw_pipeline::operations::Engine;
use openclaw_pipeline::operations::approval::{
    Approved, by_hand, choose, connect_patiently, watch,
};
use openclaw_pipeline::store::{APPROVING, ApprovalId, ApprovalRecord, Window};
use openclaw_pipeline::targets::Site;
use serde_json::Value;

use super::bench::Bench;
use super::memory_gateway::MemoryGateway;

/// How long a probe looks before it gives up: far more than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const SCOPES: [&str; 3] = ["operator.admin", "operator.pairing", "operator.read"];

/// A launched gateway whose window is open.
pub struct Scene {
    pub bench: Bench,
    pub engine: Engine,
    pub site: Site,
}

impl Scene {
    pub async fn new() -> Self {
        let bench = Bench::new();
        bench.succeed(OperationKind::Launch).await;
        let engine = bench.engine();
        let site = engine.site(&bench.deployment(&engine)).expect("its secrets open");
        Self { bench, engine, site }
    }

    pub fn gateway(&self) -> &MemoryGateway {
        self.bench.target.gateway()
    }

    /// Decisions whose outcome is known, oldest first.
    pub fn decisions(&self) -> Vec<ApprovalRecord> {
        let mut records = self.engine.store().approvals(&self.bench.name, 5000).expect("reads");
        records.retain(|record| record.decision != APPROVING);
        records.reverse();
        records
    }

    /// What a watch has stored that is killed before it asked the gateway, or before it heard.
    pub fn begun(&self, request: &str, device: &str) -> ApprovalId {
        let record = ApprovalRecord {
            request_id: request.into(),
            device_id: device.into(),
            address: "192.0.2.7".into(),
            role: "operator".into(),
            scopes: SCOPES.map(str::to_owned).to_vec(),
            decision: APPROVING.into(),
            reason: "new device".into(),
            decided_at: String::new(),
        };
        let (store, id) = (self.engine.store(), &self.site.deployment.id);
        let begun = store.begin_approval(id, &self.bench.name, &record);
        begun.expect("records").expect("a place")
    }

    /// The events about pairing, with the requests that they are about.
    pub fn told(&self) -> Vec<(EventType, String)> {
        let events = self.engine.store().events(Some(&self.bench.name), 0, 1000).expect("reads");
        let about = |data: &Value| data["request_id"].as_str().map(str::to_owned);
        events.iter().filter_map(|event| Some((event.kind, about(&event.data)?))).collect()
    }

    pub fn places(&self) -> u32 {
        let window = self.engine.store().window(&self.site.deployment.id).expect("reads");
        window.expect("a window").remaining
    }

    /// Watches until so many decisions are recorded, or the watch ends by itself.
    pub async fn watch_until(&self, decisions: usize) {
        let dial = self.gateway().dial(true);
        let enough =
            wait::until(PATIENCE, || async { (self.decisions().len() >= decisions).then_some(()) });
        tokio::select! {
            ended = watch(self.engine.store(), &self.site, &*dial) => ended.expect("no failure"),
            enough = enough => enough.expect("it decides"),
        }
    }

    /// Watches, has a device ask once the watch is there, and waits for the decision.
    pub async fn watch_asking(&self, request: Value) {
        let asks = async {
            let there = wait::until(PATIENCE, || async {
                (self.gateway().connections() > 0).then_some(())
            });
            there.await.expect("somebody watches");
            self.gateway().ask(request);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.watch_until(1) => {}
            () = asks => {}
        }
    }

    /// Replaces the window.
    pub fn set_window(&self, window: &Window) {
        let store = self.engine.store();
        let side = rusqlite::Connection::open(store.path()).expect("opens");
        side.execute("DELETE FROM approval_windows", []).expect("deletes");
        assert!(store.open_window(&self.site.deployment.id, window).expect("opens"));
    }

    pub async fn hand(&self, request_id: Option<&str>) -> Result<Approved, FailureKind> {
        let dial = self.gateway().dial(true);
        let client = connect_patiently(&*dial, &self.site).await.expect("connects");
        let pairing = Pairing(&client);
        let choice =
            choose(&self.site, &pairing, request_id).await.map_err(|failure| failure.kind)?;
        let done = by_hand(self.engine.store(), &self.site, &pairing, choice).await;
        Ok(done.expect("it is recorded"))
    }
}
