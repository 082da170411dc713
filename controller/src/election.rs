//! Holds the Lease, or waits for it: carries out what [`crate::plan::election`] decides, and tells everybody what this instance may do.

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{Api, Client, api::PostParams};
use rand::Rng as _;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{error, info};

use crate::{
    metrics::Metrics,
    plan::election::{Candidate, Moment, Record, Settings, Standing, Step},
    watch::feed::innermost,
};

/// An election that goes on in the background. Dropping it ends it at once, and gives nothing back.
pub struct Election {
    lease: String,
    standing: watch::Receiver<Standing>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Election {
    /// Begins to wait for the Lease in `namespace`. `host` names this pod or machine to people.
    pub fn begin(client: Client, namespace: &str, host: &str, settings: &Settings, metrics: &Metrics) -> Self {
        let leads = metrics.leads(&settings.lease);
        let (sender, standing) = watch::channel(Standing::Waiting);
        let stop = CancellationToken::new();
        let identity = format!("{host}_{}", uuid::Uuid::new_v4());
        let elector = Elector {
            api: Api::namespaced(client, namespace),
            place: format!("{namespace}/{}", settings.lease),
            name: settings.lease.clone(),
            release: settings.release,
            candidate: Candidate::new(identity.clone(), settings.terms),
            lease: None,
            begin: Instant::now(),
            said: String::new(),
        };
        let lease = elector.place.clone();
        info!(lease, identity, "attempting to acquire leader lease");
        let tell = move |next: &Standing| {
            leads.set(i64::from(matches!(next, Standing::Leading { .. })));
            sender.send_if_modified(|known| {
                *known != *next && {
                    *known = next.clone();
                    true
                }
            });
        };
        let task = AbortOnDropHandle::new(tokio::spawn(elector.run(tell, stop.clone())));
        Self { lease, standing, stop, task }
    }

    /// `<namespace>/<name>` of the Lease: another installation may have one of the same name elsewhere.
    pub fn lease(&self) -> &str {
        &self.lease
    }

    /// What this instance may do, as it changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Waits until this instance leads. Returns its epoch; `None` when nobody can tell any longer.
    pub async fn won(&self) -> Option<u64> {
        let mut standing = self.standing();
        loop {
            if let Standing::Leading { epoch } = *standing.borrow_and_update() {
                return Some(epoch);
            }
            standing.changed().await.ok()?;
        }
    }

    /// Waits until this instance, which led, leads no more. Also when nobody can tell any longer.
    pub async fn lost(&self) {
        let _ = self.standing().wait_for(|standing| *standing == Standing::Lost).await;
    }

    /// Ends it: whoever waits may take the Lease now. Returns when it is given back.
    pub async fn end(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

struct Elector {
    api: Api<Lease>,
    /// `<namespace>/<name>`, for people.
    place: String,
    name: String,
    release: bool,
    candidate: Candidate,
    /// As it was read or written last.
    lease: Option<Lease>,
    begin: Instant,
    /// The last trouble, so that it is said once.
    said: String,
}

impl Elector {
    /// Until it is stopped, or has lost the Lease.
    async fn run(mut self, tell: impl Fn(&Standing) + Send + 'static, stop: CancellationToken) {
        let mut before = Standing::Waiting;
        loop {
            self.attempt_in_time().await;
            let standing = self.candidate.standing(self.now().clock);
            self.log(&before, &standing);
            tell(&standing);
            if standing == Standing::Lost {
                return;
            }
            before = standing;
            let pause = self.candidate.pause(self.now().clock, rand::rng().random_range(0.0..1.0));
            // Not in the middle of a try: a Lease that was taken by it could not be given back.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        tell(&Standing::Waiting);
        if self.release && matches!(before, Standing::Leading { .. }) {
            info!(lease = self.place, "giving the leader lease back");
            if let Err(error) = self.give_back().await {
                error!(lease = self.place, error = innermost(&error), "cannot give the leader lease back");
            }
        }
    }

    /// One try. None for who is too late: it would renew what others are to take.
    async fn attempt_in_time(&mut self) {
        let limit = self.candidate.limit(self.now().clock);
        if limit.is_zero() {
            return;
        }
        let trouble = match timeout(limit, self.attempt()).await {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => innermost(&error),
            Err(_) => format!("the API server did not answer within {limit:?}"),
        };
        self.say(trouble);
    }

    /// Renews, or looks and takes. The holder renews what it wrote last without reading it; when somebody else has written, it looks.
    async fn attempt(&mut self) -> Result<(), kube::Error> {
        if let Some(record) = self.candidate.renewal(self.now()) {
            match self.write(record).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                written => return written,
            }
        }
        self.lease = self.api.get_opt(&self.name).await?;
        let (found, exists) = (self.lease.as_ref().map(record), self.lease.is_some());
        let Step::Write(record) = self.candidate.look(found, self.now()) else { return Ok(()) };
        match self.write(record).await {
            // Somebody else was quicker: that is seen at the next look.
            Err(kube::Error::Api(status)) if status.code == 409 || (status.code == 422 && !exists) => Ok(()),
            written => written,
        }
    }

    /// Writes it in place of what was read last, or where nothing was. The API server refuses it when anybody has written since: with the
    /// version of what was read it replaces only that, and without a version it creates a Lease but replaces none.
    async fn write(&mut self, record: Record) -> Result<(), kube::Error> {
        let sent = self.now().clock;
        let lease = with(self.lease.clone().unwrap_or_default(), &self.name, &record);
        self.lease = Some(self.api.replace(&self.name, &PostParams::default(), &lease).await?);
        self.candidate.wrote(record, sent);
        Ok(())
    }

    async fn give_back(&mut self) -> Result<(), kube::Error> {
        self.lease = self.api.get_opt(&self.name).await?;
        let free = self.lease.as_ref().and_then(|lease| self.candidate.release(&record(lease), self.now()));
        match free {
            Some(free) => self.write(free).await,
            None => Ok(()),
        }
    }

    fn say(&mut self, trouble: String) {
        if !trouble.is_empty() && trouble != self.said {
            error!(
                lease = self.place,
                error = trouble,
                "cannot get or update the leader lease, trying again; the role of this service account must allow get, create and update"
            );
        }
        self.said = trouble;
    }

    fn log(&self, before: &Standing, now: &Standing) {
        match now {
            Standing::Leading { epoch } if before != now => {
                info!(lease = self.place, epoch, "successfully acquired lease");
            }
            Standing::Behind { holder, .. } if before != now => {
                info!(lease = self.place, holder, "another instance leads")
            }
            _ => {}
        }
    }

    fn now(&self) -> Moment {
        Moment { clock: self.begin.elapsed(), wall: Timestamp::now() }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        seconds: spec.lease_duration_seconds.unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
        acquired: spec.acquire_time.map(|time| time.0),
        renewed: spec.renew_time.map(|time| time.0),
    }
}

/// The Lease with that record. What else it has stays.
fn with(mut lease: Lease, name: &str, record: &Record) -> Lease {
    lease.metadata.name = Some(name.to_owned());
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(record.holder.clone());
    spec.lease_duration_seconds = Some(record.seconds);
    spec.lease_transitions = Some(record.transitions);
    spec.acquire_time = record.acquired.map(MicroTime);
    spec.renew_time = record.renewed.map(MicroTime);
    lease
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use tower::service_fn;

    use super::*;
    use crate::plan::election::Terms;

    /// An API server without a Lease that takes each write, until it `is_away`: then nobody listens at its address.
    fn api_server(is_away: Arc<AtomicBool>) -> Client {
        let answer = move |request: Request<Body>| {
            let is_away = is_away.load(Ordering::Relaxed);
            async move {
                if is_away {
                    return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
                }
                let is_write = request.method() != Method::GET;
                let sent = request.into_body().collect_bytes().await.unwrap_or_default();
                let missing = r#"{"kind":"Status","status":"Failure","reason":"NotFound","message":"","code":404}"#;
                let (code, body) =
                    if is_write { (StatusCode::OK, sent.to_vec()) } else { (StatusCode::NOT_FOUND, missing.into()) };
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = code;
                Ok(response)
            }
        };
        Client::new(service_fn(answer), "ns")
    }

    /// The shortest terms that are accepted: others may begin 0.6 s after this deadline.
    #[tokio::test(start_paused = true)]
    async fn a_leader_whose_tries_fail_at_once_stops_at_its_deadline() {
        let renew = Duration::from_millis(2401);
        let terms = Terms::new(Duration::from_secs(3), renew).unwrap();
        let settings = Settings { lease: "lease".to_owned(), terms, release: false };
        let is_away = Arc::new(AtomicBool::default());
        let election = Election::begin(api_server(is_away.clone()), "ns", "host", &settings, &Metrics::new(1));
        assert_eq!(timeout(renew, election.won()).await, Ok(Some(0)));
        is_away.store(true, Ordering::Relaxed);
        let sure = Instant::now();
        assert!(timeout(renew * 4, election.lost()).await.is_ok(), "it never stops");
        let led = sure.elapsed();
        assert!(led <= renew + Duration::from_millis(10), "it led for {led:?}");
        assert!(led + Duration::from_millis(10) >= renew, "it gave up after {led:?}");
    }
}
