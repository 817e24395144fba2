//! `GET /jobs/{id}`, which can wait until the job is over: who waits for one job asks once, and is told
//! what became of it by the turn that settles it.

use super::hub::Hub;
use super::job::Job;
use super::pull::WAIT_S_MAX;
use super::query::Query;
use super::queue::JobIx;
use super::why::Lookout;
use crate::domain::json_write::ObjectWriter;
use crate::domain::problem::Problem;

/// A read of a job that waits.
#[derive(Clone, Copy, Debug)]
pub struct HeldRead {
    /// Names the request to the transport.
    pub token: u64,
    /// When it is answered at the latest, monotonic ms.
    pub until: i64,
    job: JobIx,
}

impl Hub {
    /// Answers or holds a read of one job.
    pub(super) fn read_job(&mut self, token: u64, query: &str) {
        match self.try_read_job(token, query) {
            Ok(Some(body)) => self.reply(token, 200, body),
            Ok(None) => {}
            Err(problem) => self.refuse(token, &problem),
        }
    }

    fn try_read_job(&mut self, token: u64, query: &str) -> Result<Option<Vec<u8>>, Box<Problem>> {
        let query = Query::parse(query, &["job_id", "wait"])?;
        let id = query.get("job_id").unwrap_or_default();
        let wait = query.seconds("wait", WAIT_S_MAX)?.unwrap_or(0);
        let job = self.state.jobs.find(id);
        if let Some(job) = job.filter(|job| wait > 0 && !self.state.jobs.is_over(*job)) {
            let until = self.now.mono + wait;
            self.reads.push(HeldRead { token, until, job });
            return Ok(None);
        }
        let job = self.known_job(id)?;
        Ok(Some(self.job_page(&job, &mut self.lookout())))
    }

    /// Answers the held reads of jobs that are over now, and those whose time is.
    pub(super) fn answer_reads(&mut self) {
        let jobs = &self.state.jobs;
        let now = self.now.mono;
        let is_due = |read: &mut HeldRead| read.until <= now || jobs.is_over(read.job);
        let due: Vec<HeldRead> = self.reads.extract_if(.., is_due).collect();
        let jobs = due.iter().map(|read| {
            let id = self.state.jobs.id(read.job).unwrap_or_default();
            self.known_job(id)
        });
        let jobs: Vec<_> = jobs.collect();
        // Many may be due at once, and looking for what is ahead of each is bounded for all together.
        let mut lookout = self.lookout_of_page();
        let told = jobs.iter().map(|job| match job {
            Ok(job) => (200, self.job_page(job, &mut lookout)),
            // It was forgotten meanwhile.
            Err(problem) => (problem.status, problem.to_json()),
        });
        let told: Vec<(u16, Vec<u8>)> = told.collect();
        for (read, (status, body)) in due.iter().zip(told) {
            self.reply(read.token, status, body);
        }
    }

    fn job_page<'h>(&'h self, job: &'h Job, lookout: &mut Lookout<'h>) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let mut object = ObjectWriter::new(&mut out);
        object.int("cursor", self.last_seq());
        self.write_job(object.key("data"), job, lookout);
        object.end();
        out
    }
}
