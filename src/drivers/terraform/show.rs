//! What a state holds, in Terraform's own words.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::{LOOK_DEADLINE, Run, Terraform, Workspace};
use crate::domain::Failure;

impl Terraform {
    /// The state in a file as `terraform show` prints it. What its module calls sensitive is left
    /// out by it.
    pub async fn show(
        &self,
        workspace: Workspace<'_>,
        file: &Path,
        run: Run<'_>,
    ) -> Result<String, Failure> {
        self.enter(workspace, run).await?;
        let _admitted = self.admission.admit(run.cancel).await?;
        let mut cmd = self.cmd_in(workspace);
        cmd.args(["show", "-no-color"]).arg(file).deadline(LOOK_DEADLINE * 4);
        cmd.cancel_on(run.cancel).hold(run.lock)?;
        let read = |mut stdout: File| {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        };
        let (output, text) = cmd.read_by(read).await?;
        if !output.success() {
            return Err(Failure::failed(format!("terraform show: {}", output.last_line())));
        }
        Ok(text?)
    }
}
