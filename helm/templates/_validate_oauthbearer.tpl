{{/* What is wrong with the values of the login by token, as JSON: {problems: [TEXT]}. The rules are those of the service. */}}
{{- define "checkpoint-ready.oauthbearerProblems" -}}
{{- $v := .Values -}}
{{- $o := $v.kafka.sasl.oauthbearer -}}
{{- $problems := list -}}
{{- if or $v.kafka.sasl.username $v.kafka.sasl.password $v.kafka.sasl.existingSecret -}}
{{- $problems = append $problems "kafka.sasl.mechanism OAUTHBEARER logs in by a token: leave kafka.sasl.username, password and existingSecret empty." -}}
{{- end -}}
{{- $proofs := list -}}
{{- range $name, $value := dict "clientSecret" $o.clientSecret.secret "privateKey" $o.privateKey.secret "serviceAccountToken" $o.serviceAccountToken.audience -}}
{{- if $value -}}
{{- $proofs = append $proofs $name -}}
{{- end -}}
{{- end -}}
{{- if eq $o.provider "oidc" -}}
{{- range $name := list "tokenEndpointUrl" "clientId" -}}
{{- if not (get $o $name) -}}
{{- $problems = append $problems (printf "kafka.sasl.oauthbearer.provider oidc needs kafka.sasl.oauthbearer.%s." $name) -}}
{{- end -}}
{{- end -}}
{{- if ne (len $proofs) 1 -}}
{{- $problems = append $problems (printf "kafka.sasl.oauthbearer.provider oidc needs exactly one of clientSecret.secret, privateKey.secret and serviceAccountToken.audience, not %d of them." (len $proofs)) -}}
{{- end -}}
{{- if and (or $o.assertionKeyId $o.assertionAudience) (not $o.privateKey.secret) -}}
{{- $problems = append $problems "kafka.sasl.oauthbearer.assertionKeyId and assertionAudience have no effect without privateKey: unset them." -}}
{{- end -}}
{{- else -}}
{{- $others := list "tokenEndpointUrl" "clientId" "audience" "caSecret" "assertionKeyId" "assertionAudience" -}}
{{- if ne $o.provider "azure" -}}
{{- $others = append $others "scope" -}}
{{- end -}}
{{- range $name := $others -}}
{{- if get $o $name -}}
{{- $problems = append $problems (printf "kafka.sasl.oauthbearer.%s has no effect with provider %s: unset it." $name $o.provider) -}}
{{- end -}}
{{- end -}}
{{- range $name := $proofs -}}
{{- if not (and (eq $name "serviceAccountToken") (eq $o.provider "file")) -}}
{{- $problems = append $problems (printf "kafka.sasl.oauthbearer.%s has no effect with provider %s: unset it." $name $o.provider) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $o.provider "file") (not $o.serviceAccountToken.audience) -}}
{{- $problems = append $problems "kafka.sasl.oauthbearer.provider file sends the token of the service account: set serviceAccountToken.audience to what the brokers expect." -}}
{{- end -}}
{{- if and (eq $o.provider "azure") (not $o.scope) -}}
{{- $problems = append $problems "kafka.sasl.oauthbearer.provider azure needs kafka.sasl.oauthbearer.scope, such as https://NAMESPACE.servicebus.windows.net/.default" -}}
{{- end -}}
{{- end -}}
{{- $isOfAccount := or $o.serviceAccountToken.audience (has $o.provider (list "aws_msk_iam" "azure" "gcp")) -}}
{{- if and $isOfAccount $v.topics.create $v.serviceAccount.create -}}
{{- $problems = append $problems "the login by token depends on the service account, which does not exist yet when the Job creates the topics: create the account before, set serviceAccount.create=false and serviceAccount.name, or set topics.create=false." -}}
{{- end -}}
{{- if $v.keda.enabled -}}
{{- $problems = append $problems "keda.enabled: the chart cannot give KEDA a login by token: use hpa.enabled, or a ScaledObject of your own." -}}
{{- end -}}
{{- toJson (dict "problems" $problems) -}}
{{- end -}}
