# Makes a line of each ready event in the JSON lines of `kcat -J`, in both content modes.
# A record that is no ready event gives no line.

# The headers of a record as an object; kcat prints them as a list of names and values.
def header_object:
  (.headers // []) as $list
  | [range(0; $list | length; 2) | {key: $list[.], value: $list[. + 1]}]
  | from_entries;

# The attributes and the data of the event.
def event:
  header_object as $headers
  | (.payload | fromjson) as $value
  | if $headers.ce_specversion
    then {id: $headers.ce_id, type: $headers.ce_type, replayid: $headers.ce_replayid, data: $value}
    else $value
    end;

def line($record):
  select(.type == "fine_tuning.job.checkpoint.ready")
  | .data.checkpoint as $checkpoint
  | {
      id,
      job: $checkpoint.fine_tuning_job_id,
      step: $checkpoint.step_number,
      model: $checkpoint.fine_tuned_model_checkpoint,
      loss: .data.evaluation.loss,
      partition: $record.partition,
      offset: $record.offset
    }
    + (if .replayid then {replayid} else {} end)
  | select(all(.id, .job, .step, .model; . != null));

(fromjson? // empty) as $record | try ($record | event | line($record)) catch empty
