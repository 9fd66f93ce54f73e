//! How those who look at the agent ask the loop, which alone knows.
//!
//! The figures of a thousand backends cost more to write down than to keep: they are written
//! down when somebody asks, not at each tick.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::socket::Request;
use crate::core::controller::Operator;

/// A loop that does not answer within this is hung.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// More are not asked at a time; those who ask then wait.
const MOST: usize = 16;

/// What the loop is asked, and where to the answer goes.
#[derive(Debug)]
pub enum Question {
    /// What [`status::troubles`](super::status::troubles) says.
    Health(oneshot::Sender<Vec<String>>),
    /// What comes of a request of somebody's, as JSON.
    Request(Request, Operator, oneshot::Sender<String>),
    /// What [`Metrics::encode`](super::metrics::Metrics::encode) says.
    Metrics(oneshot::Sender<String>),
}

/// Asks the loop.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Question>);

/// An asker, and what the loop receives its questions by.
pub fn channel() -> (Asker, mpsc::Receiver<Question>) {
    let (asker, questions) = mpsc::channel(MOST);
    (Asker(asker), questions)
}

impl Asker {
    /// Backends that cannot be decided about, and why; `None` if the loop is hung or has ended.
    pub async fn health(&self) -> Option<Vec<String>> {
        self.ask(Question::Health).await
    }

    /// What comes of the request `by` made, as JSON; `None` if the loop is hung or has ended.
    pub async fn request(&self, request: Request, by: Operator) -> Option<String> {
        self.ask(|to| Question::Request(request, by, to)).await
    }

    /// Its metrics as text; `None` if the loop is hung or has ended.
    pub async fn metrics(&self) -> Option<String> {
        self.ask(Question::Metrics).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (to, answer) = oneshot::channel();
        let asked = async {
            self.0.send(question(to)).await.ok()?;
            answer.await.ok()
        };
        timeout(ANSWER_WITHIN, asked).await.ok()?
    }
}
